"""The metrics that every worker has, whatever it computes: what it is now, and what it moves."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric

from penstock.core.types import WorkerState
from penstock.runtime.metrics import counter, gauge, render
from penstock.transfer.counters import TransferCounters

_OURS = ("worker",)
_LINK = ("worker", "direction", "transport")

_DRAINING = gauge("penstock_worker_draining", "boolean", "1 while it takes nothing new.", _OURS)
_INFO = gauge("penstock_worker_info", "info", "1; what the worker is now.", (*_OURS, "role", "group", "version"))
_PEER = gauge(
    "penstock_transfer_peer_info",
    "info",
    "1; transport in use to a worker that it pushes to.",
    (*_OURS, "peer", "transport"),
)
_TRANSFERS = (
    (counter("penstock_transfer_bytes_total", "bytes", "Verified at the destination.", _LINK), "num_bytes"),
    (counter("penstock_transfer_seconds_total", "seconds", "Spent in pushes that arrived.", _LINK), "seconds"),
    (counter("penstock_transfer_segments_total", "segments", "Verified there.", _LINK), "num_segments"),
    (counter("penstock_transfer_resends_total", "segments", "Sent again.", _LINK), "num_resends"),
    (
        counter("penstock_transfer_checksum_failures_total", "segments", "Whose checksum did not fit.", _LINK),
        "num_checksum_failures",
    ),
    (
        counter(
            "penstock_transfer_refused_total",
            "segments",
            "Refused: unknown reservation, other incarnation, out of range.",
            _LINK,
        ),
        "num_refused",
    ),
    (counter("penstock_transfer_failures_total", "pushes", "Did not arrive whole.", _LINK), "num_failures"),
)

COMMON_METRICS = (_DRAINING, _INFO, _PEER, *(spec for spec, _ in _TRANSFERS))


def of_state(state: WorkerState) -> Iterator[Metric]:
    """What the worker is now, and by what it reaches its peers."""
    worker_id = state.ref.worker_id
    yield render(_DRAINING, [((worker_id,), state.is_draining)])
    yield render(_INFO, [((worker_id, state.role.value, state.group, state.version), 1)])
    yield render(_PEER, [((worker_id, peer, transport), 1) for peer, transport in state.transports])


def of_transfers(worker_id: str, by_direction: Mapping[str, TransferCounters]) -> Iterator[Metric]:
    """What was "sent" and "received"."""
    totals = [
        ((worker_id, direction, transport), of_transport)
        for direction, counters in by_direction.items()
        for transport, of_transport in list(counters.by_transport.items())
    ]
    for spec, field in _TRANSFERS:
        yield render(spec, [(labels, getattr(of_transport, field)) for labels, of_transport in totals])
