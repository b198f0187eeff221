"""What the gateway itself does for a request between its arrival and its tokens: entered in the request's timeline
always, and as spans when it is traced.
"""

from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.errors import PenstockError
from penstock.core.timeline import Span, Stage, Timeline
from penstock.core.types import Request
from penstock.gateway.attempt import Attempt
from penstock.runtime.tracing import Attribute, FinishedSpan, SpanContext, SpanKind, Tracer


@dataclass(frozen=True, slots=True)
class Begun:
    """Something that has begun; `traceparent` is for whoever takes part in it elsewhere."""

    began_s: float
    context: SpanContext | None
    traceparent: str


class RequestTrace:
    """Of one request, over all its attempts."""

    def __init__(self, tracer: Tracer, request: Request, timeline: Timeline, now_s: Callable[[], float]) -> None:
        self._tracer = tracer
        self._traceparent = request.traceparent
        self._timeline = timeline
        self._now_s = now_s

    def begin(self) -> Begun:
        context = self._tracer.below(self._traceparent)
        return Begun(self._now_s(), context, context.traceparent if context else self._traceparent)

    def end_stage(self, stage: Stage, begun: Begun) -> None:
        now_s = self._now_s()
        self._timeline.spans.append(Span(stage, begun.began_s, now_s))
        if begun.context is not None:
            kind = SpanKind.CLIENT if stage is Stage.ROUTE else SpanKind.INTERNAL
            self._tracer.record(FinishedSpan(begun.context, stage, kind, begun.began_s, now_s))

    def end_attempt(self, attempt: Attempt, begun: Begun, error: PenstockError | None) -> None:
        """From the offer to whatever became of it; a refusal is no error, nor is a reader that has enough."""
        if begun.context is None:
            return
        decode = attempt.decode.ref.worker_id if attempt.decode else ""
        attributes: dict[str, Attribute] = {
            "penstock.attempt": attempt.start.request.attempt,
            "penstock.prefill_worker": attempt.candidate.ref.worker_id,
            "penstock.decode_worker": decode,
            "penstock.outcome": error.code if error else "finished",
        }
        sentence = error.message if error and error.http_status >= 500 and not attempt.is_refused else ""
        span = FinishedSpan(
            begun.context, "attempt", SpanKind.CLIENT, begun.began_s, self._now_s(), attributes, sentence
        )
        self._tracer.record(span)
