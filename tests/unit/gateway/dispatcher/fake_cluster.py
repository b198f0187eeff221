"""Workers, router and scheduler in one process: the dispatcher's Network, and the run of a scenario against it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry

from penstock.core.errors import NoWorkers, WorkerLost
from penstock.core.types import (
    Candidate,
    Role,
    RouteQuery,
    RoutingDecision,
    WorkerRef,
)
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.limits import DispatchLimits
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.watch import Watch
from penstock.runtime.tracing import OFF
from penstock.wire import encode_messages as e
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_stream import FakeStream
from tests.unit.gateway.dispatcher.fake_worker import FakeWorker
from tests.unit.gateway.dispatcher.virtual_time import VirtualTimeLoop, until

ROUTER = "router:1"


class FakeCluster:
    """Implements Network. Every worker is reachable at its own name."""

    prefill_s = 0.010
    transfer_s = 0.002
    step_s = 0.005
    encode_s = 0.020

    def __init__(self, limits: DispatchLimits) -> None:
        self.limits = limits
        self.workers: dict[str, FakeWorker] = {}
        self.is_scheduler_up = True
        self.is_router_up = True
        self.is_router_mute = False
        self.routers: list[FakeStream[m.RouteCalls, m.RouteEvents]] = []
        self.queries: list[RouteQuery] = []
        self.num_probes = 0
        self.registry = CollectorRegistry()
        self.tracer = OFF
        self._incarnations = count(100)

    def run(self, scenario: Callable[[RoutedDispatcher], Coroutine[Any, Any, None]], seconds: float = 300.0) -> None:
        """Run `scenario` against a started dispatcher; afterwards nothing of it may be left."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            watch = Watch(GatewayMetrics(self.registry, "model"), self.tracer)
            me = m.Hello("gateway-0", 7, 0)
            dispatcher = RoutedDispatcher(me, "default", self, watch, self.limits, loop.time)
            await dispatcher.start()
            try:
                async with asyncio.timeout(seconds):
                    await until(lambda: not self.is_scheduler_up or bool(dispatcher.membership()))
                    await scenario(dispatcher)
                    await until(lambda: dispatcher.num_requests == 0)
                    assert dispatcher.num_waiting == 0
                    assert not dispatcher._sessions.attempts
                    assert not len(dispatcher._sessions.images)
                    assert not any(session.attempts for session in dispatcher._sessions.all())
            finally:
                await dispatcher.close()
            leaked = asyncio.all_tasks() - {asyncio.current_task()}
            assert not leaked

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())

    def add(self, name: str, role: Role = Role.PREFILL, **options: Any) -> FakeWorker:
        """A worker starts, or comes back as another life."""
        ref = WorkerRef(name, next(self._incarnations), name)
        worker = self.workers[name] = FakeWorker(self, ref, role, **options)
        self.publish()
        return worker

    def remove(self, worker: FakeWorker) -> None:
        worker.die()
        if self.workers.get(worker.ref.address) is worker:
            del self.workers[worker.ref.address]
            self.publish()

    def publish(self) -> None:
        view = m.MembershipView("default", [worker.state for worker in self.workers.values() if worker.is_listed])
        for stream in self.routers:
            if stream.is_open and self.is_router_up:
                stream.send(m.RouteEvents(membership=view))

    def kill_router(self) -> None:
        self.is_router_up = self.is_scheduler_up = False
        for stream in self.routers:
            stream.send(WorkerLost("router died"))

    # --- Network ---

    async def join(self, request: m.JoinRequest, timeout_s: float) -> m.JoinResponse:
        if not self.is_scheduler_up:
            raise WorkerLost("no scheduler")
        return m.JoinResponse([("default", ROUTER)])

    def route(self, address: str, calls: AsyncIterator[m.RouteCalls]) -> AsyncGenerator[m.RouteEvents, None]:
        stream: FakeStream[m.RouteCalls, m.RouteEvents] = FakeStream()
        self.routers.append(stream)

        def answer(call: m.RouteCalls) -> None:
            for query in call.queries:
                self.queries.append(query)
                if not self.is_router_mute:
                    stream.send(m.RouteEvents(answers=[self.decide(query)]))

        if not self.is_router_up:
            stream.send(WorkerLost("no router"))
        self.publish()
        return stream.serve(calls, answer, lambda: None)

    def decide(self, query: RouteQuery) -> m.RouteAnswer:
        listed = [worker for worker in self.workers.values() if worker.is_listed]
        alive = [worker for worker in listed if worker.ref.worker_id not in query.excluded_worker_ids]
        prefill = tuple(Candidate(worker.ref, 0.01) for worker in alive if worker.state.takes_prefill)
        decode = tuple(Candidate(worker.ref, 0.005) for worker in alive if worker.state.takes_decode)
        if not prefill or not decode:
            return m.RouteAnswer(query.request_id, error=NoWorkers("nobody is there"))
        disaggregate = any(worker.role is Role.DECODE for worker in alive)
        encoders = [Candidate(worker.ref) for worker in alive if worker.role is Role.ENCODER]
        named = tuple(encoders[index % len(encoders)] for index in range(len(query.image_patches)) if encoders)
        return m.RouteAnswer(query.request_id, RoutingDecision(prefill, decode, disaggregate, named))

    def prefill(self, address: str, calls: AsyncIterator[m.PrefillCalls]) -> AsyncGenerator[m.PrefillEvents, None]:
        stream: FakeStream[m.PrefillCalls, m.PrefillEvents] = FakeStream()
        worker = self.workers.get(address)
        if worker is None or not worker.is_alive:
            stream.send(WorkerLost("connection refused"))
            return stream.serve(calls, lambda _: None, lambda: None)
        worker.prefills.append(stream)
        return stream.serve(calls, worker.on_prefill_call, lambda: None)

    def encode(self, address: str, calls: AsyncIterator[e.EncodeCalls]) -> AsyncGenerator[e.EncodeEvents, None]:
        stream: FakeStream[e.EncodeCalls, e.EncodeEvents] = FakeStream()
        worker = self.workers.get(address)
        if worker is None or not worker.is_alive:
            stream.send(WorkerLost("connection refused"))
            return stream.serve(calls, lambda _: None, lambda: None)
        worker.images.streams.append(stream)
        return stream.serve(calls, worker.images.on_call, lambda: None)

    def decode(self, address: str, calls: AsyncIterator[m.DecodeCalls]) -> AsyncGenerator[m.StepOutputs, None]:
        stream: FakeStream[m.DecodeCalls, m.StepOutputs] = FakeStream()
        worker = self.workers.get(address)
        if worker is None or not worker.is_alive:
            stream.send(WorkerLost("connection refused"))
            return stream.serve(calls, lambda _: None, lambda: None)
        worker.decodes.append(stream)
        return stream.serve(calls, lambda call: worker.on_cancel(call.cancelled_handles), lambda: None)

    async def probe(self, address: str, timeout_s: float) -> None:
        self.num_probes += 1
        worker = self.workers.get(address)
        if worker is None or worker.is_mute or not worker.is_alive:
            raise WorkerLost("no answer")
