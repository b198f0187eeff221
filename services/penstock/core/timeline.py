"""When each stage of a request began and ended, and the figures the field computes from it.

Live processes and the simulator record the same stages, so their reports come from the same functions.

    ENCODE     images become embeddings
    ROUTE      gateway asks the router                  PREFILL      prompt is computed
    QUEUE      waits for a worker that accepts          RESERVE      decode blocks are being promised
    TRANSFER   KV moves                                 DECODE_WAIT  everything arrived, first decode step not yet run
    DECODE     first decode step to last token

All times of one timeline are on one clock, the gateway's: what a worker measured arrives as "seconds ago".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Protocol


class Stage(StrEnum):
    ENCODE = "encode"
    ROUTE = "route"
    QUEUE = "queue"
    PREFILL = "prefill"
    RESERVE = "reserve"
    TRANSFER = "transfer"
    DECODE_WAIT = "decode_wait"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Span:
    """One stage. A request that was resumed has several spans of the same stage."""

    stage: Stage
    began_s: float
    ended_s: float
    where: str = ""  # worker_id; empty: the gateway

    @property
    def duration_s(self) -> float:
        return self.ended_s - self.began_s


class SpanAgo(Protocol):
    """A span as another process sends it: counted back from the moment of sending, so clocks need not agree."""

    @property
    def stage(self) -> str: ...
    @property
    def began_ago_s(self) -> float: ...
    @property
    def ended_ago_s(self) -> float: ...


@dataclass(slots=True)
class Timeline:
    """The stages of one request and when its tokens came."""

    arrived_s: float
    spans: list[Span] = field(default_factory=list)
    token_times_s: list[float] = field(default_factory=list)
    finished_s: float | None = None
    _open: dict[Stage, float] = field(default_factory=dict)

    def begin(self, stage: Stage, now_s: float) -> None:
        assert stage not in self._open, f"{stage} has begun already"
        self._open[stage] = now_s

    def end(self, stage: Stage, now_s: float) -> None:
        self.spans.append(Span(stage, self._open.pop(stage), now_s))

    def from_ago(self, now_s: float, spans: Iterable[SpanAgo], where: str = "") -> None:
        """Enter what a worker sent, received at `now_s`; the time of flight shifts it later, by well under 1 ms."""
        for span in spans:
            self.spans.append(Span(Stage(span.stage), now_s - span.began_ago_s, now_s - span.ended_ago_s, where))

    def token(self, now_s: float, num_tokens: int = 1) -> None:
        """`num_tokens` arrived together at `now_s`."""
        self.token_times_s.extend([now_s] * num_tokens)

    def finish(self, now_s: float) -> None:
        self.finished_s = now_s

    def duration_s(self, stage: Stage) -> float:
        """Seconds spent in a stage, over all attempts."""
        return sum(span.duration_s for span in self.spans if span.stage is stage)

    @property
    def ttft_s(self) -> float | None:
        """Time to first token: t_first - t_arrival."""
        return self.token_times_s[0] - self.arrived_s if self.token_times_s else None

    @property
    def itl_s(self) -> list[float]:
        """Inter-token latencies: t_i+1 - t_i, one per token after the first; tokens that came together have 0."""
        times = self.token_times_s
        return [later - earlier for earlier, later in pairwise(times)]

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first: (t_last - t_first) / (num_tokens - 1); None for a single token."""
        times = self.token_times_s
        return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None

    @property
    def e2e_s(self) -> float | None:
        """End-to-end latency: t_finish - t_arrival."""
        return None if self.finished_s is None else self.finished_s - self.arrived_s


@dataclass(frozen=True, slots=True)
class Slo:
    """Service-level objectives of one request; infinity means none."""

    ttft_s: float = float("inf")
    tpot_s: float = float("inf")
    e2e_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and percentiles of a list of seconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


def summarize(values: Iterable[float]) -> Summary | None:
    """None when there is nothing to summarise."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Summary(
        count=len(ordered),
        mean=sum(ordered) / len(ordered),
        p50=percentile(ordered, 0.50),
        p90=percentile(ordered, 0.90),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        max=ordered[-1],
    )


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Linear interpolation between closest ranks, as numpy's default; `ordered` ascends and is not empty."""
    position = fraction * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def meets(timeline: Timeline, slo: Slo) -> bool:
    """Whether a request finished and met every objective. One token has no TPOT and meets any."""
    ttft_s, e2e_s = timeline.ttft_s, timeline.e2e_s
    if ttft_s is None or e2e_s is None:
        return False
    return ttft_s <= slo.ttft_s and (timeline.tpot_s or 0.0) <= slo.tpot_s and e2e_s <= slo.e2e_s
