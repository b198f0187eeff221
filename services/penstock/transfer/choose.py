"""Which transport two workers use with each other. Pure; never settles for less in silence.

    same host:   shared_memory, then ucx (memory of one host), then tcp
    other host:  ucx over RDMA, then tcp
A transport counts when both ends allow it and listen on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.errors import TransportUnavailable
from penstock.core.kv_layout import TransferEndpoint
from penstock.transfer.policy import SHARED_MEMORY, TCP, UCX

RDMA_MARK = b"rdma@"  # prefix of a UCX address whose owner has an RDMA device


@dataclass(frozen=True, slots=True)
class Choice:
    endpoint: TransferEndpoint
    reason: str


def choose_transport(
    mine: Sequence[TransferEndpoint], theirs: Sequence[TransferEndpoint], allowed: Sequence[str], is_same_host: bool
) -> Choice:
    """The best endpoint of `theirs` that this worker also has and allows; TransportUnavailable says what is missing."""
    here = {endpoint.transport: endpoint for endpoint in mine if endpoint.transport in allowed}
    there = {endpoint.transport: endpoint for endpoint in theirs}
    common = [name for name in here if name in there]
    has_rdma = UCX in common and all(side[UCX].address.startswith(RDMA_MARK) for side in (here, there))
    if is_same_host:
        ranked = {
            SHARED_MEMORY: "both are on one host: KV is written straight into the peer's pool",
            UCX: "both are on one host, and shared memory is not allowed by both",
            TCP: "both are on one host, but only TCP is allowed by both",
        }
    else:
        ranked = {UCX: "both hosts have RDMA"} if has_rdma else {}
        ranked |= {TCP: "no RDMA on both hosts, and TCP is allowed by both"}
    for name, reason in ranked.items():
        if name in common:
            return Choice(there[name], reason)
    raise TransportUnavailable(_missing(common, here, there, is_same_host))


def _missing(
    common: Sequence[str], here: dict[str, TransferEndpoint], there: dict[str, TransferEndpoint], is_same_host: bool
) -> str:
    offers = f"This worker offers {_names(here)}, the peer {_names(there)}"
    if is_same_host:
        return f"No transport is allowed by both workers on this host. {offers}."
    if UCX in common:
        return (
            f"UCX would fall back to TCP between these hosts, because at least one has no RDMA device. {offers}. "
            "Add an RDMA device to both, or allow tcp in the settings of both."
        )
    return f"No transport reaches the other host. {offers}. Allow ucx (with RDMA) or tcp in the settings of both."


def _names(side: dict[str, TransferEndpoint]) -> str:
    return ", ".join(sorted(side)) or "nothing"
