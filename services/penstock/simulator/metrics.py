"""What a simulation counts while it runs, in memory that does not grow with the trace."""

from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.core.errors import PenstockError
from penstock.core.timeline import Slo, Stage, Timeline, meets
from penstock.simulator.quantiles import Quantiles
from penstock.simulator.workload import RequestSpec

MAX_SAMPLES = 512  # of each pool's history; then every second one is dropped and the interval doubles


@dataclass(slots=True)
class RequestTotals:
    """Every request ends exactly once: `num_arrived` = finished + failed + those under way."""

    num_arrived: int = 0
    num_finished: int = 0
    num_met: int = 0  # finished within every objective
    num_prompt_tokens: int = 0
    num_output_tokens: int = 0
    first_arrival_s: float = 0.0
    last_end_s: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)  # by code

    @property
    def num_failed(self) -> int:
        return sum(self.failures.values())


class RequestMetrics:
    """Latencies of finished requests, as `core.timeline` computes them."""

    def __init__(self, slo: Slo) -> None:
        self.totals = RequestTotals()
        self.slo = slo
        self.latencies = {name: Quantiles() for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s")}
        self.stages = {stage: Quantiles() for stage in Stage}

    def arrived(self, now_s: float) -> None:
        if not self.totals.num_arrived:
            self.totals.first_arrival_s = now_s
        self.totals.num_arrived += 1

    def ended(self, spec: RequestSpec, timeline: Timeline, error: PenstockError | None, now_s: float) -> None:
        """One request is over, for good or not; failed ones and those after a deadline of their own count as missed."""
        totals = self.totals
        totals.last_end_s = max(totals.last_end_s, now_s)
        if error is not None:
            totals.failures[error.code] = totals.failures.get(error.code, 0) + 1
            return
        totals.num_finished += 1
        is_late = timeline.ttft_s is not None and timeline.ttft_s > spec.first_token_deadline_s
        totals.num_met += not is_late and meets(timeline, self.slo)
        totals.num_prompt_tokens += spec.num_prompt_tokens
        totals.num_output_tokens += len(timeline.token_times_s)
        for name in ("ttft_s", "tpot_s", "e2e_s"):
            value = getattr(timeline, name)
            if value is not None:
                self.latencies[name].add((value,))
        self.latencies["itl_s"].add(timeline.itl_s)
        for stage in {span.stage for span in timeline.spans}:
            self.stages[stage].add((timeline.duration_s(stage),))


@dataclass(frozen=True, slots=True)
class PoolSample:
    """A pool at one moment."""

    time_s: float
    num_workers: int
    num_waiting: int
    num_running: int
    kv_usage: float  # share of blocks that are referenced


class PoolHistory:
    """Samples at an even interval that doubles whenever there are too many."""

    def __init__(self, interval_s: float) -> None:
        self.samples: dict[str, list[PoolSample]] = {}
        self.interval_s = interval_s

    def add(self, take: Callable[[], dict[str, PoolSample]]) -> None:
        """Enter one sample for each pool."""
        for pool, sample in take().items():
            self.samples.setdefault(pool, []).append(sample)
        if any(len(samples) >= MAX_SAMPLES for samples in self.samples.values()):
            self.samples = {pool: samples[::2] for pool, samples in self.samples.items()}
            self.interval_s *= 2
