"""A router behind gRPC: one stream per gateway, a heartbeat per worker.

Takes part in "route". Answers go out as they are found; the membership goes out whole when a stream opens, at once
after a change, and otherwise every `refresh_s` with the latest load, more slowly in a large group.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from penstock.core.pools import RolesView
from penstock.core.types import RouteQuery, WorkerState
from penstock.runtime import clock
from penstock.runtime.outbox import Outbox
from penstock.runtime.tracing import OFF, Attribute, FinishedSpan, SpanKind, Tracer
from penstock.scheduler.metrics import RouterMetrics
from penstock.scheduler.router import Router
from penstock.wire import stubs
from penstock.wire.messages import HeartbeatRequest, HeartbeatResponse, RouteAnswer, RouteCalls, RouteEvents

log = logging.getLogger(__name__)

_TICK_S = 0.25
_REFRESH_S_PER_WORKER = 0.002  # a view costs about 10 us per worker and gateway to make: half a percent of a core

Context = grpc.aio.ServicerContext[Any, Any]
Item = RouteAnswer | None  # None: the membership is due


class RouterService:
    """Serves one router until its server stops; `keep_time` must run beside it."""

    def __init__(
        self,
        router: Router,
        metrics: RouterMetrics,
        refresh_s: float = 0.5,
        now_s: Callable[[], float] = clock.now_s,
        tracer: Tracer = OFF,
    ) -> None:
        self.roles: Callable[[], RolesView] = RolesView  # what gateways are told of the control of roles
        self.on_change: Callable[[], None] = lambda: None  # hears of every change of membership
        self._router = router
        self._metrics = metrics
        self._refresh_s = refresh_s
        self._now_s = now_s
        self._tracer = tracer
        self._streams: set[Outbox[Item]] = set()
        self._told_version = router.version
        self._told_s = 0.0

    def register(self, server: grpc.aio.Server) -> None:
        stubs.add_router(server, self.route, self.heartbeat, self._now_s)

    def admit(self, state: WorkerState) -> None:
        self._router.admit(state)
        self._tell_changes()

    async def heartbeat(self, request: HeartbeatRequest, context: Context) -> HeartbeatResponse:
        is_known = self._router.heartbeat(request)
        self._tell_changes()
        return HeartbeatResponse(is_known)

    async def route(self, calls: AsyncIterator[RouteCalls], context: Context) -> AsyncIterator[RouteEvents]:
        outbox: Outbox[Item] = Outbox()
        outbox.put(None)
        self._streams.add(outbox)
        reader = asyncio.create_task(self._read(calls, outbox))
        try:
            async for items in outbox.batches():
                answers = [item for item in items if item is not None]
                membership = self._router.view(self.roles()) if len(answers) < len(items) else None
                yield RouteEvents(answers, membership)
            await reader
        finally:
            self._streams.discard(outbox)
            reader.cancel()

    async def keep_time(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(_TICK_S)
            self.tick()

    def tick(self) -> None:
        """End leases, refresh the gateways' views and the gauges."""
        self._router.tick()
        self._metrics.observe(self._router, self._now_s())
        refresh_s = self._refresh_s + _REFRESH_S_PER_WORKER * len(self._router.workers)
        if self._now_s() - self._told_s >= refresh_s:
            self._tell()
        else:
            self._tell_changes()

    async def _read(self, calls: AsyncIterator[RouteCalls], outbox: Outbox[Item]) -> None:
        gateway_id = "a gateway"
        try:
            async for call in calls:
                if call.hello is not None:
                    gateway_id = call.hello.caller_id
                    log.info("%s connected", gateway_id)
                for query in call.queries:
                    outbox.put(self._answer(query))
                if call.load is not None:
                    self._router.hear_gateway(gateway_id, call.load)
        finally:
            self._router.gateway_left(gateway_id)
            log.info("%s disconnected", gateway_id)
            outbox.close()

    def _answer(self, query: RouteQuery) -> RouteAnswer:
        began_s = self._now_s()
        answer = self._router.answer(query)
        ended_s = self._now_s()
        self._metrics.routed(answer, ended_s - began_s)
        if context := self._tracer.below(query.traceparent):
            span = FinishedSpan(context, "rank", SpanKind.SERVER, began_s, ended_s, _told(answer))
            self._tracer.record(span)
        return answer

    def _tell_changes(self) -> None:
        if self._router.version != self._told_version:
            self.on_change()
            self._tell()

    def _tell(self) -> None:
        self._told_version = self._router.version
        self._told_s = self._now_s()
        for outbox in self._streams:
            outbox.put(None)


def _told(answer: RouteAnswer) -> dict[str, Attribute]:
    """What a span says of a route."""
    decision = answer.decision
    if decision is None:
        return {"penstock.outcome": answer.error.code if answer.error else "unknown"}
    attributes: dict[str, Attribute] = {
        "penstock.disaggregate": decision.disaggregate,
        "penstock.num_prefill_candidates": len(decision.prefill),
        "penstock.num_decode_candidates": len(decision.decode),
    }
    if decision.prefill:
        best = decision.prefill[0]
        attributes["penstock.prefill_worker"] = best.ref.worker_id
        attributes["penstock.predicted_ttft_s"] = best.predicted_s
        attributes["penstock.num_cached_tokens"] = best.num_cached_tokens
    return attributes
