"""Every metric of a worker process, read from the live objects when somebody scrapes.

vLLM's names where vLLM has one, `penstock_*` for what is ours. Gateways have some of vLLM's names too; only a worker's
carry the label `worker`. Its role, which may change, is a label of `penstock_worker_info` alone: join on `worker`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penstock.core.histogram import Histogram
from penstock.core.types import WorkerState
from penstock.decode.intake import Intake
from penstock.engine.loop import EngineLoop
from penstock.runtime.metrics import MetricSpec, counter, gauge, histogram, render
from penstock.transfer.counters import TransferCounters
from penstock.worker.common_metrics import COMMON_METRICS, of_state, of_transfers
from penstock.worker.step_meter import BATCH_BUCKETS, STEP_BUCKETS_S, StepMeter

_VLLM = ("model_name", "worker")
_OURS = ("worker",)
Sample = tuple[tuple[str, ...], float | Histogram]


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """The parts of a worker that have figures to show."""

    engine: EngineLoop
    steps: StepMeter
    intake: Intake
    sent: TransferCounters
    received: TransferCounters
    describe: Callable[[], WorkerState]


_ENGINE: tuple[tuple[MetricSpec, Callable[[WorkerParts], float]], ...] = (
    (
        gauge("vllm:num_requests_waiting", "sequences", "Accepted and not yet started.", _VLLM),
        attrgetter("engine.book.num_waiting"),
    ),
    (
        gauge("vllm:num_requests_running", "sequences", "In the running batch.", _VLLM),
        lambda parts: len(parts.engine.book.running),
    ),
    (
        gauge("vllm:kv_cache_usage_perc", "ratio", "Share of KV blocks in use, 0 to 1.", _VLLM),
        lambda parts: parts.engine.book.pool.num_referenced / parts.engine.book.pool.num_blocks,
    ),
    (
        counter("vllm:prompt_tokens_total", "tokens", "Prompt tokens computed.", _VLLM),
        attrgetter("engine.totals.num_prompt_tokens"),
    ),
    (
        counter("vllm:generation_tokens_total", "tokens", "Tokens sampled.", _VLLM),
        attrgetter("engine.totals.num_sampled_tokens"),
    ),
    (
        counter("vllm:prefix_cache_queries_total", "tokens", "Prompt tokens looked up in the prefix cache.", _VLLM),
        attrgetter("engine.totals.num_looked_up_tokens"),
    ),
    (
        counter("vllm:prefix_cache_hits_total", "tokens", "Prompt tokens found there.", _VLLM),
        attrgetter("engine.totals.num_cached_tokens"),
    ),
    (
        counter("vllm:num_preemptions_total", "sequences", "Those that had to give their blocks back.", _VLLM),
        attrgetter("engine.totals.num_preemptions"),
    ),
)
_STEP_TOKENS = histogram("vllm:iteration_tokens_total", "tokens", "Tokens of one step.", _VLLM, bounds=BATCH_BUCKETS)
_CACHE_CONFIG = gauge(
    "vllm:cache_config_info", "info", "1; the size of the KV pool.", (*_VLLM, "block_size", "num_gpu_blocks")
)

_STEP_SEQUENCES = histogram("penstock_step_sequences", "sequences", "In one step.", _OURS, bounds=BATCH_BUCKETS)
_STEP_S = histogram(
    "penstock_step_seconds",
    "seconds",
    "Of one step, by what it ran: prefill, decode, mixed.",
    (*_OURS, "kind"),
    bounds=STEP_BUCKETS_S,
)
_YIELDS = counter("penstock_prefill_yields_total", "steps", "Of prompts, paused between two layers.", _OURS)
_BLOCKS = gauge(
    "penstock_kv_blocks",
    "blocks",
    "By state: used, quarantined (a peer may still write there), cached (evictable, a known prefix in it), free.",
    (*_OURS, "state"),
)
_RESERVATIONS = gauge("penstock_reservations", "reservations", "Granted to prefill workers, not started.", _OURS)
_PENDING = gauge("penstock_pending_prompt_tokens", "tokens", "Accepted and not yet computed.", _OURS)

WORKER_METRICS = (
    *(spec for spec, _ in _ENGINE),
    *(_STEP_TOKENS, _CACHE_CONFIG, _STEP_SEQUENCES, _STEP_S, _YIELDS, _BLOCKS, _RESERVATIONS, _PENDING),
    *COMMON_METRICS,
)


class WorkerMetrics(Collector):
    """Collects from the parts of one worker."""

    def __init__(self, worker_id: str, model_name: str, parts: WorkerParts) -> None:
        self._worker_id = worker_id
        self._model_name = model_name
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        yield from self._vllm()
        yield from self._ours()
        yield from of_state(self._parts.describe())
        yield from of_transfers(self._worker_id, {"sent": self._parts.sent, "received": self._parts.received})

    def _vllm(self) -> Iterator[Metric]:
        labels = self._model_name, self._worker_id
        for spec, read in _ENGINE:
            yield render(spec, [(labels, read(self._parts))])
        yield render(_STEP_TOKENS, [(labels, self._parts.steps.tokens)])
        pool = self._parts.engine.book.pool
        yield render(_CACHE_CONFIG, [((*labels, str(pool.block_size), str(pool.num_blocks)), 1)])

    def _ours(self) -> Iterator[Metric]:
        parts, state = self._parts, self._parts.describe()
        yield self._own(_STEP_SEQUENCES, [((), parts.steps.sequences)])
        yield self._own(_STEP_S, parts.steps.steps_by_kind())
        yield self._own(_YIELDS, [((), parts.engine.totals.num_yields)])
        yield self._own(_BLOCKS, self._blocks())
        yield self._own(_RESERVATIONS, [((), len(parts.intake.reservations))])
        yield self._own(_PENDING, [((), state.num_prefill_tokens)])

    def _blocks(self) -> Iterator[Sample]:
        pool, num_quarantined = self._parts.engine.book.pool, self._parts.intake.reservations.num_quarantined_blocks
        yield ("used",), pool.num_referenced - num_quarantined
        yield ("quarantined",), num_quarantined
        yield ("free",), pool.num_free - pool.num_evictable
        yield ("cached",), pool.num_evictable

    def _own(self, spec: MetricSpec, samples: Iterable[Sample]) -> Metric:
        return render(spec, (((self._worker_id, *labels), sample) for labels, sample in samples))
