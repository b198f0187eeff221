"""What a run of requests has to say, by the functions of `core.timeline`; the same for both targets.

Counted are the requests due after the warm-up. Throughput is over the time from the first of them being sent to the
last one's end, so that a backlog shows. Requests that the client gave up on purpose are neither met nor missed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from penstock.core.timeline import Summary, summarize
from penstock_loadgen.exchange import CANCELLED
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.validity import Validity

LATENCIES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "e2e_s": "E2E"}
QUANTILES = ("p50", "p90", "p95", "p99")


def shown(name: str) -> tuple[str, float]:
    """How people read a figure, and by what it is multiplied for it: latencies are in milliseconds."""
    return (f"{name} (ms)", 1e3) if name.split(maxsplit=1)[0] in LATENCIES.values() else (name, 1.0)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, or the requests of one class in it."""

    num_requests: int
    num_finished: int
    num_cancelled: int
    failures: dict[str, int]  # by kind
    num_retries: int
    num_warm_up: int  # sent and not counted
    num_without_usage: int  # their tokens are events
    duration_s: float
    requests_per_s: float  # finished
    sent_per_s: float
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    attainment: float
    goodput: float  # requests per second that met their objectives
    cached_share: float  # of prompt tokens, as the server says
    latencies: dict[str, Summary | None]  # by the names of LATENCIES
    prompt_tokens: Summary | None
    output_tokens: Summary | None
    lateness: Summary | None

    @property
    def num_failed(self) -> int:
        return sum(self.failures.values())

    def figures(self) -> dict[str, float]:
        """Everything that can be compared between runs, by name."""
        found = {
            "requests/s": self.requests_per_s,
            "output tokens/s": self.output_tokens_per_s,
            "attainment": self.attainment,
            "goodput": self.goodput,
            "failed share": self.num_failed / self.num_requests if self.num_requests else 0.0,
        }
        for name, label in LATENCIES.items():
            summary = self.latencies[name]
            if summary is not None:
                found |= {f"{label} {quantile}": getattr(summary, quantile) for quantile in ("mean", *QUANTILES)}
        return found


@dataclass(frozen=True, slots=True)
class Repeat:
    """One run of an experiment, by its seed."""

    seed: int
    rate: float
    summary: RunSummary
    validity: Validity
    classes: dict[str, RunSummary] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "figures": self.summary.figures()}


def summarize_run(records: Sequence[RequestRecord]) -> RunSummary:
    """Of all requests of a run, warm-up included."""
    counted = [record for record in records if not record.is_warm_up]
    finished = [record for record in counted if record.is_success]
    judged = [record for record in counted if record.kind != CANCELLED]
    num_met = sum(record.is_met for record in judged)
    began_s = min((record.sent_s for record in counted), default=0.0)
    last_sent_s = max((record.sent_s for record in counted), default=0.0)
    duration_s = max((record.ended_s for record in counted), default=0.0) - began_s
    answered = [record for record in counted if record.event_times_s]

    def per_s(count: float, span_s: float = duration_s) -> float:
        return count / span_s if span_s > 0 else 0.0

    num_prompt_tokens = sum(record.num_prompt_tokens for record in answered)
    return RunSummary(
        num_requests=len(counted),
        num_finished=len(finished),
        num_cancelled=len(counted) - len(judged),
        failures=dict(sorted(Counter(record.kind for record in judged if record.is_failed).items())),
        num_retries=sum(record.num_retries for record in counted),
        num_warm_up=len(records) - len(counted),
        num_without_usage=sum(not record.has_usage for record in finished),
        duration_s=duration_s,
        requests_per_s=per_s(len(finished)),
        sent_per_s=per_s(len(counted) - 1, last_sent_s - began_s),
        prompt_tokens_per_s=per_s(num_prompt_tokens),
        output_tokens_per_s=per_s(sum(record.num_output_tokens for record in answered)),
        attainment=num_met / len(judged) if judged else 1.0,
        goodput=per_s(num_met),
        cached_share=sum(record.num_cached_tokens for record in answered) / max(1, num_prompt_tokens),
        latencies=_latencies(finished),
        prompt_tokens=summarize(record.num_prompt_tokens for record in answered),
        output_tokens=summarize(record.num_output_tokens for record in answered),
        lateness=summarize(record.lateness_s for record in counted),
    )


def by_class(records: Sequence[RequestRecord]) -> dict[str, RunSummary]:
    """Of each class, when there are several."""
    names = list(dict.fromkeys(record.class_name for record in records))
    if len(names) < 2:
        return {}
    return {name: summarize_run([one for one in records if one.class_name == name]) for name in sorted(names)}


def _latencies(finished: Sequence[RequestRecord]) -> dict[str, Summary | None]:
    timelines = [record.timeline for record in finished]
    return {
        "ttft_s": summarize(_known(timeline.ttft_s for timeline in timelines)),
        "tpot_s": summarize(_known(timeline.tpot_s for timeline in timelines)),
        "itl_s": summarize(gap_s for record in finished for gap_s in record.itl_s),
        "e2e_s": summarize(_known(timeline.e2e_s for timeline in timelines)),
    }


def _known(values: Iterable[float | None]) -> Iterable[float]:
    return (value for value in values if value is not None)
