"""The sequence that is decoding, since when, and its spans if it is traced."""

from dataclasses import dataclass

from penstock.core.timeline import Stage
from penstock.core.types import Sequence
from penstock.runtime.tracing import Attribute, FinishedSpan, SpanContext, SpanKind, Tracer
from penstock.wire.messages import StageSpan


@dataclass(slots=True)
class Decoding:
    """From the moment everything it needs is here: it waits for a step to begin, then it is decoded.

    started --(decode_wait)--> its first step begins --(decode)--> its last token
    """

    sequence: Sequence
    started_s: float
    context: SpanContext | None
    first_step_s: float | None = None  # None: no step of it has ended

    def stages(self, now_s: float) -> list[StageSpan]:
        """As its gateway is told when it ends."""
        began_ago_s = 0.0 if self.first_step_s is None else now_s - self.first_step_s
        return [
            StageSpan(Stage.DECODE_WAIT, now_s - self.started_s, began_ago_s),
            StageSpan(Stage.DECODE, began_ago_s, 0.0),
        ]

    def trace(self, tracer: Tracer, now_s: float, outcome: str, error: str = "") -> None:
        """When it has ended, in whatever way."""
        if self.context is None:
            return
        for stage in self.stages(now_s):
            began_s, ended_s = now_s - stage.began_ago_s, now_s - stage.ended_ago_s
            child = tracer.child(self.context)
            tracer.record(FinishedSpan(child, stage.stage, SpanKind.INTERNAL, began_s, ended_s))
        attributes: dict[str, Attribute] = {
            "penstock.request_id": self.sequence.request.request_id,
            "penstock.attempt": self.sequence.request.attempt,
            "penstock.num_output_tokens": self.sequence.num_output_tokens,
            "penstock.outcome": outcome,
        }
        tracer.record(
            FinishedSpan(self.context, "serve decode", SpanKind.CONSUMER, self.started_s, now_s, attributes, error)
        )
