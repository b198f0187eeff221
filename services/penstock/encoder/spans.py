"""Spans of the images that one gateway has encoded here, made of what it is told anyway."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from penstock.runtime.tracing import Attribute, FinishedSpan, SpanContext, SpanKind, Tracer
from penstock.wire.encode_messages import EncodeEvents, EncodeStart
from penstock.wire.messages import StageSpan


@dataclass(frozen=True, slots=True)
class _Traced:
    """One image."""

    context: SpanContext
    began_s: float
    start: EncodeStart


class EncodeSpans:
    """Of one gateway's stream."""

    def __init__(self, tracer: Tracer, now_s: Callable[[], float]) -> None:
        self._tracer = tracer
        self._now_s = now_s
        self._open: dict[tuple[int, int], _Traced] = {}  # by handle and place among the request's images

    def begin(self, start: EncodeStart) -> None:
        if context := self._tracer.below(start.traceparent):
            self._open[start.handle, start.index] = _Traced(context, self._now_s(), start)

    def hear(self, events: EncodeEvents) -> None:
        """What the gateway is about to be told."""
        if not self._open:
            return
        for delivered in events.delivered:
            self._stages(delivered.handle, delivered.index, delivered.spans)
            self._end(delivered.handle, delivered.index, "cached" if delivered.was_cached else "encoded")
        for ended in events.failed:
            self._end(ended.handle, ended.index, ended.error.code, ended.error.message)

    def cancel(self, handle: int) -> None:
        """The images of one request are not wanted any more."""
        for index in [index for traced, index in self._open if traced == handle]:
            self._end(handle, index, "cancelled")

    def close(self) -> None:
        """The gateway is gone."""
        for handle, index in list(self._open):
            self._end(handle, index, "cancelled")

    def _stages(self, handle: int, index: int, stages: Iterable[StageSpan]) -> None:
        traced, now_s = self._open.get((handle, index)), self._now_s()
        if traced is None:
            return
        for stage in stages:
            began_s, ended_s = now_s - stage.began_ago_s, now_s - stage.ended_ago_s
            context = self._tracer.child(traced.context)
            self._tracer.record(FinishedSpan(context, stage.stage, SpanKind.INTERNAL, began_s, ended_s))

    def _end(self, handle: int, index: int, outcome: str, error: str = "") -> None:
        traced = self._open.pop((handle, index), None)
        if traced is None:
            return
        attributes: dict[str, Attribute] = {
            "penstock.request_id": traced.start.request_id,
            "penstock.image": index,
            "penstock.num_patches": traced.start.image.num_patches,
            "penstock.outcome": outcome,
        }
        self._tracer.record(
            FinishedSpan(
                traced.context, "serve encode", SpanKind.SERVER, traced.began_s, self._now_s(), attributes, error
            )
        )
