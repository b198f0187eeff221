"""Spans of the prompts that one gateway has computed here, made of what it is told anyway."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from penstock.core.timeline import Stage
from penstock.core.types import Request, WorkerRef
from penstock.prefill.loop import is_local
from penstock.runtime.tracing import Attribute, FinishedSpan, SpanContext, SpanKind, Tracer
from penstock.wire.messages import PrefillEvents, PrefillStart, StageSpan


@dataclass(frozen=True, slots=True)
class _Traced:
    """One prompt. The decode worker's span goes below that of the transfer, which is named before it has begun."""

    context: SpanContext
    transfer: SpanContext | None  # None: decoded in place
    began_s: float
    request: Request


class PrefillSpans:
    """Of one gateway's stream."""

    def __init__(self, tracer: Tracer, now_s: Callable[[], float]) -> None:
        self._tracer = tracer
        self._now_s = now_s
        self._open: dict[int, _Traced] = {}  # by handle

    def begin(self, start: PrefillStart, me: WorkerRef) -> PrefillStart:
        """The same offer; whoever takes part in it from here on does so below a span of ours, if it is traced."""
        context = self._tracer.below(start.request.traceparent)
        if context is None:
            return start
        transfer = None if is_local(start, me) else self._tracer.child(context)
        self._open[start.request.handle] = _Traced(context, transfer, self._now_s(), start.request)
        return replace(start, request=replace(start.request, traceparent=(transfer or context).traceparent))

    def hear(self, events: PrefillEvents) -> None:
        """What the gateway is about to be told."""
        if not self._open:
            return
        for ended in (*events.refused, *events.failed):
            self._end(ended.handle, ended.error.code, "" if ended in events.refused else ended.error.message)
        for first in events.first_tokens:
            self._stages(first.handle, first.spans)
            if first.finish_reason:
                self._end(first.handle, "finished")
        for handed in events.handed_off:
            self._stages(handed.handle, handed.spans)
            self._end(handed.handle, "handed_off")

    def cancel(self, handles: Iterable[int]) -> None:
        for handle in handles:
            self._end(handle, "cancelled")

    def close(self) -> None:
        """The gateway is gone."""
        self.cancel(list(self._open))

    def _stages(self, handle: int, stages: Iterable[StageSpan]) -> None:
        traced, now_s = self._open.get(handle), self._now_s()
        if traced is None:
            return
        for stage in stages:
            is_transfer = stage.stage == Stage.TRANSFER
            context = traced.transfer if is_transfer else self._tracer.child(traced.context)
            if context is not None:
                kind = SpanKind.PRODUCER if is_transfer else SpanKind.INTERNAL
                began_s, ended_s = now_s - stage.began_ago_s, now_s - stage.ended_ago_s
                self._tracer.record(FinishedSpan(context, stage.stage, kind, began_s, ended_s))

    def _end(self, handle: int, outcome: str, error: str = "") -> None:
        traced = self._open.pop(handle, None)
        if traced is None:
            return
        request = traced.request
        attributes: dict[str, Attribute] = {
            "penstock.request_id": request.request_id,
            "penstock.attempt": request.attempt,
            "penstock.num_prompt_tokens": request.num_tokens,
            "penstock.outcome": outcome,
        }
        span = FinishedSpan(
            traced.context, "serve prefill", SpanKind.SERVER, traced.began_s, self._now_s(), attributes, error
        )
        self._tracer.record(span)
