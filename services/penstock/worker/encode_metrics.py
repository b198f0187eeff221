"""The metrics of a worker that encodes images; see `metrics` for all others."""

from collections.abc import Callable, Iterator
from operator import attrgetter

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penstock.core.types import WorkerState
from penstock.encoder.loop import Encoder
from penstock.runtime.metrics import MetricSpec, counter, gauge, render
from penstock.transfer.counters import TransferCounters
from penstock.worker.common_metrics import COMMON_METRICS, of_state, of_transfers

_VLLM = ("model_name", "worker")
_OURS = ("worker",)

_READ: tuple[tuple[MetricSpec, Callable[[Encoder], float]], ...] = (
    (
        counter("vllm:mm_cache_queries_total", "images", "Images asked for.", _VLLM),
        attrgetter("totals.num_asked_for"),
    ),
    (
        counter("vllm:mm_cache_hits_total", "images", "Those encoded already, or being encoded for another.", _VLLM),
        attrgetter("totals.num_cache_hits"),
    ),
    (
        gauge("penstock_encode_images_waiting", "images", "Waiting for the vision tower.", _OURS),
        attrgetter("num_waiting"),
    ),
    (
        gauge("penstock_encode_images_held", "images", "Asked for and not yet delivered.", _OURS),
        attrgetter("num_errands"),
    ),
    (
        gauge("penstock_encode_cache_bytes", "bytes", "Of embeddings kept in host memory.", _OURS),
        attrgetter("cache.num_bytes"),
    ),
    (
        counter("penstock_encode_images_total", "images", "Through the vision tower.", _OURS),
        attrgetter("totals.num_images"),
    ),
    (
        counter("penstock_encode_batches_total", "batches", "Through the vision tower.", _OURS),
        attrgetter("totals.num_batches"),
    ),
    (
        counter("penstock_encode_seconds_total", "seconds", "Spent on them.", _OURS),
        attrgetter("totals.seconds"),
    ),
)

ENCODE_METRICS = tuple(spec for spec, _ in _READ)
ENCODER_WORKER_METRICS = (*COMMON_METRICS, *ENCODE_METRICS)


class PushMetrics(Collector):
    """What an encoder worker is, and what it pushes."""

    def __init__(self, describe: Callable[[], WorkerState], sent: TransferCounters) -> None:
        self._describe = describe
        self._sent = sent

    def collect(self) -> Iterator[Metric]:
        state = self._describe()
        yield from of_state(state)
        yield from of_transfers(state.ref.worker_id, {"sent": self._sent})


class EncodeMetrics(Collector):
    """Collects from one encoder."""

    def __init__(self, worker_id: str, model_name: str, encoder: Encoder) -> None:
        self._labels = {_VLLM: (model_name, worker_id), _OURS: (worker_id,)}
        self._encoder = encoder

    def collect(self) -> Iterator[Metric]:
        for spec, read in _READ:
            yield render(spec, [(self._labels[spec.labels], read(self._encoder))])
