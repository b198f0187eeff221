"""The timelines of all running requests and of the last finished ones: where the time of each went.

What a finished request leaves is small and has a fixed size but for its spans, a dozen for each attempt; when the ring
is full the oldest goes. `/cluster/requests` serves it, `penstock trace` and the live page read it.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.core.timeline import Slo, Span, percentile
from penstock.gateway.api.choice import Choice
from penstock.gateway.metrics import GatewayMetrics
from penstock.runtime.tracing import Attribute, SpanContext

NUM_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class EndedSequence:
    """What is kept of a choice. Times are of the gateway's monotonic clock."""

    spans: Sequence[Span]
    first_token_s: float | None
    last_token_s: float | None
    num_tokens: int
    num_resumes: int
    tpot_s: float  # 0 for a single token, which meets any objective
    itl_s: Mapping[str, float]  # p50, p99, max; empty with fewer than two tokens
    finish_reason: str  # empty: it did not get that far


@dataclass(slots=True)
class RequestRecord:
    """One HTTP request for completions."""

    request_id: str  # the client's, or made for it; clients repeat theirs
    path: str
    arrived_s: float
    objectives: Slo = field(default_factory=Slo)
    context: SpanContext | None = None  # of its span, when it is traced
    tenant: str = ""
    answer_id: str = ""  # unique; its sequences are ANSWER_ID-0, -1 ...
    num_prompt_tokens: int = 0  # those of images included
    num_images: int = 0
    num_cached_tokens: int = 0
    is_streamed: bool = False
    choices: Sequence[Choice] = ()  # while it runs
    sequences: Sequence[EndedSequence] = ()  # afterwards
    status: int = 0
    code: str = ""  # of the error that ended it
    finished_s: float | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)  # of its span

    @property
    def num_output_tokens(self) -> int:
        if self.finished_s is None:
            return sum(choice.num_tokens for choice in self.choices)
        return sum(sequence.num_tokens for sequence in self.sequences)

    @property
    def first_token_s(self) -> float | None:
        """Of whichever sequence was first."""
        return min((s.first_token_s for s in self.sequences if s.first_token_s is not None), default=None)

    def stage_s(self) -> dict[str, float]:
        """Seconds by stage, over all sequences and attempts, once it has ended."""
        total: dict[str, float] = {}
        for sequence in self.sequences:
            for span in sequence.spans:
                total[span.stage] = total.get(span.stage, 0.0) + span.duration_s
        return total


class RequestLog:
    """Running requests by arrival, finished ones by their end."""

    def __init__(self, metrics: GatewayMetrics, num_remembered: int = NUM_REMEMBERED) -> None:
        self._running: OrderedDict[int, RequestRecord] = OrderedDict()
        self._finished: deque[RequestRecord] = deque(maxlen=num_remembered)
        self._gauge = metrics.remembered
        self._count()

    def begin(self, record: RequestRecord) -> None:
        self._running[id(record)] = record
        self._count()

    def end(self, record: RequestRecord, now_s: float) -> None:
        """Keep what is small of it."""
        del self._running[id(record)]
        record.finished_s = now_s
        record.sequences = tuple(map(_ended, record.choices))
        record.choices = ()
        self._finished.append(record)
        self._count()

    def running(self) -> Collection[RequestRecord]:
        """Those that have not ended, oldest first."""
        return self._running.values()

    def latest(self, num_requests: int) -> list[RequestRecord]:
        """All running ones, oldest first, then the last finished ones, newest first."""
        finished = list(self._finished)[::-1]
        return [*self._running.values(), *finished[:num_requests]]

    def find(self, name: str) -> RequestRecord | None:
        """By the client's id, by the answer's, or by that of one of its sequences; the newest of several."""
        for record in self._newest_first():
            if name in (record.request_id, record.answer_id) or _is_sequence_of(name, record):
                return record
        return None

    def _newest_first(self) -> Iterator[RequestRecord]:
        yield from reversed(self._running.values())
        yield from reversed(self._finished)

    def _count(self) -> None:
        self._gauge.set("running", to=len(self._running))
        self._gauge.set("finished", to=len(self._finished))


def _is_sequence_of(name: str, record: RequestRecord) -> bool:
    return bool(record.answer_id) and name.rpartition("-")[0] == record.answer_id


def _ended(choice: Choice) -> EndedSequence:
    timeline = choice.generation.timeline
    times = timeline.token_times_s
    gaps = sorted(timeline.itl_s)
    return EndedSequence(
        spans=tuple(timeline.spans),
        first_token_s=times[0] if times else None,
        last_token_s=times[-1] if times else None,
        num_tokens=choice.num_tokens,
        num_resumes=choice.generation.num_resumes,
        tpot_s=timeline.tpot_s or 0.0,
        itl_s={"p50": percentile(gaps, 0.5), "p99": percentile(gaps, 0.99), "max": gaps[-1]} if gaps else {},
        finish_reason=choice.finish_reason.value if choice.finish_reason else "",
    )
