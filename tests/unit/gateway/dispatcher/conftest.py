"""A cluster in one process, in virtual time: workers, router and scheduler that answer, refuse, die and come back.

Their engine is deterministic in the whole context, so a token drawn after a lost, repeated or changed one differs.
"""

import asyncio
import selectors
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, TypeVar

import pytest
from prometheus_client import CollectorRegistry

from penstock.core.errors import NoWorkers, PenstockError, QueueFull, WorkerLost
from penstock.core.types import (
    Candidate,
    FinishReason,
    Request,
    Role,
    RouteQuery,
    RoutingDecision,
    SampledToken,
    SamplingParams,
    WorkerRef,
    WorkerState,
)
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.generation import Generation
from penstock.gateway.limits import DispatchLimits
from penstock.gateway.metrics import GatewayMetrics
from penstock.wire import messages as m

ROUTER = "router:1"
Calls = TypeVar("Calls")
Events = TypeVar("Events")


class _VirtualSelector(selectors.DefaultSelector):
    """Waiting takes no time: the clock jumps to the next timer. Waiting for nothing at all is a deadlock."""

    elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("deadlock: every task waits and no timer is set")
            self.elapsed_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.virtual = _VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return 1000.0 + self.virtual.elapsed_s


def expected_tokens(request: Request) -> list[int]:
    """What an undisturbed engine would say."""
    context = list(request.prompt_token_ids)
    for _ in range(request.sampling.max_tokens):
        context.append(_draw(context, request.sampling.seed))
    return context[len(request.prompt_token_ids) :]


def _draw(context: Sequence[int], seed: int) -> int:
    return zlib.crc32(repr((seed, list(context))).encode()) % 50_000


class FakeStream(Generic[Calls, Events]):
    """The server's end of one stream."""

    def __init__(self) -> None:
        self.calls: list[Calls] = []
        self.is_open = True
        self._events: asyncio.Queue[Events | PenstockError] = asyncio.Queue()

    def send(self, events: Events | PenstockError) -> None:
        self._events.put_nowait(events)

    async def serve(
        self, calls: AsyncIterator[Calls], on_call: Callable[[Calls], None], on_close: Callable[[], None]
    ) -> AsyncGenerator[Events, None]:
        async def listen() -> None:
            async for call in calls:
                self.calls.append(call)
                on_call(call)

        listener = asyncio.create_task(listen())
        try:
            while True:
                events = await self._events.get()
                if isinstance(events, PenstockError):
                    raise events
                yield events
        finally:
            self.is_open = False
            on_close()
            listener.cancel()
            await asyncio.wait([listener])


@dataclass(eq=False)
class FakeWorker:
    """`script` replaces what it does with an offer; without one it accepts, prefills, hands over and decodes."""

    cluster: "FakeCluster"
    ref: WorkerRef
    role: Role
    is_full: bool = False
    is_listed: bool = True  # by the router
    is_mute: bool = False  # alive, says nothing: a stopped process
    script: "Callable[[FakeWorker, m.PrefillStart], None] | None" = None
    capacity: int = 10_000
    offers: list[m.PrefillStart] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    held: dict[int, Request] = field(default_factory=dict)  # accepted here or decoding here
    prefills: list[FakeStream[m.PrefillCalls, m.PrefillEvents]] = field(default_factory=list)
    decodes: list[FakeStream[m.DecodeCalls, m.StepOutputs]] = field(default_factory=list)
    is_alive: bool = True
    is_stepping: bool = False

    @property
    def state(self) -> WorkerState:
        return WorkerState(self.ref, self.role)

    # --- what it says ---

    def say(self, events: m.PrefillEvents) -> None:
        for stream in self.prefills:
            if stream.is_open and not self.is_mute:
                stream.send(events)

    def step(self, outputs: m.StepOutputs) -> None:
        for stream in self.decodes:
            if stream.is_open and not self.is_mute:
                stream.send(outputs)

    def break_streams(self) -> None:
        streams: list[FakeStream[Any, Any]] = [*self.prefills, *self.decodes]
        for stream in streams:
            stream.send(WorkerLost("connection reset"))

    def die(self) -> None:
        """kill -9."""
        self.is_alive = False
        self.held.clear()
        self.break_streams()

    # --- what it hears ---

    def on_prefill_call(self, calls: m.PrefillCalls) -> None:
        for start in calls.starts:
            self.offers.append(start)
            if self.script is not None:
                self.script(self, start)
            else:
                self.take(start)
        self.on_cancel(calls.cancelled_handles)

    def on_cancel(self, handles: Sequence[int]) -> None:
        self.cancelled.extend(handles)
        for handle in handles:
            self.held.pop(handle, None)

    # --- what it does ---

    def take(self, start: m.PrefillStart) -> None:
        handle = start.request.handle
        if self.is_full or len(self.held) >= self.capacity:
            self.say(m.PrefillEvents(refused=[m.PrefillEnded(handle, QueueFull("full"))]))
            return
        self.held[handle] = start.request
        self.say(m.PrefillEvents(accepted_handles=[handle]))
        self.later(self.cluster.prefill_s, self.prefill, start)

    def prefill(self, start: m.PrefillStart) -> None:
        request = start.request
        if request.handle not in self.held:
            return
        token_id = _draw([*request.prompt_token_ids, *request.output_token_ids], request.sampling.seed)
        is_last = len(request.output_token_ids) + 1 >= request.sampling.max_tokens
        reason = FinishReason.LENGTH if is_last else None
        first = m.FirstToken(request.handle, SampledToken(token_id), 3, reason)
        self.say(m.PrefillEvents(first_tokens=[first]))
        if is_last:
            self.release(request.handle)
        else:
            self.later(self.cluster.transfer_s, self.hand_over, start, token_id)

    def hand_over(self, start: m.PrefillStart, token_id: int) -> None:
        handle = start.request.handle
        if handle not in self.held:
            return
        for ref in start.decode_candidates:
            decode = self.cluster.workers.get(ref.address)
            if decode is not None and decode.ref == ref and not decode.is_mute:
                self.release(handle)
                output = (*start.request.output_token_ids, token_id)
                decode.decode(start.request, output)
                self.say(m.PrefillEvents(handed_off=[m.HandedOff(handle, ref)]))
                return
        self.release(handle)
        self.say(m.PrefillEvents(failed=[m.PrefillEnded(handle, WorkerLost("no decode worker"))]))

    def release(self, handle: int) -> None:
        self.held.pop(handle, None)
        if self.role is Role.PREFILL:
            self.say(m.PrefillEvents(has_capacity=True))

    def decode(self, request: Request, output: tuple[int, ...]) -> None:
        self.held[request.handle] = Request(
            request.request_id,
            request.attempt,
            request.gateway_id,
            request.handle,
            request.prompt_token_ids,
            request.sampling,
            output,
        )
        if not self.is_stepping:
            self.is_stepping = True
            self.later(self.cluster.step_s, self.run_step)

    def run_step(self) -> None:
        """One token for everything it holds, in one message."""
        handles, token_ids, positions, finished = [], [], [], []
        for handle, request in list(self.held.items()):
            output = request.output_token_ids
            token_id = _draw([*request.prompt_token_ids, *output], request.sampling.seed)
            handles.append(handle)
            token_ids.append(token_id)
            positions.append(len(output))
            if len(output) + 1 >= request.sampling.max_tokens:
                finished.append(m.Finished(handle, FinishReason.LENGTH))
                del self.held[handle]
            else:
                self.decode(request, (*output, token_id))
        self.step(m.StepOutputs(0, handles, token_ids, positions, finished))
        self.is_stepping = bool(self.held)
        if self.held:
            self.later(self.cluster.step_s, self.run_step)

    def later(self, delay_s: float, act: Callable[..., None], *args: Any) -> None:
        def unless_dead() -> None:
            if self.is_alive:
                act(*args)

        asyncio.get_running_loop().call_later(delay_s, unless_dead)


class FakeCluster:
    """Implements Network. Every worker is reachable at its own name."""

    prefill_s = 0.010
    transfer_s = 0.002
    step_s = 0.005

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
        self._incarnations = count(100)

    def run(self, scenario: Callable[[RoutedDispatcher], Coroutine[Any, Any, None]], seconds: float = 300.0) -> None:
        """Run `scenario` against a started dispatcher; afterwards nothing of it may be left."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            metrics = GatewayMetrics(self.registry, "model")
            me = m.Hello("gateway-0", 7, 0)
            dispatcher = RoutedDispatcher(me, "default", self, metrics, self.limits, loop.time)
            await dispatcher.start()
            try:
                async with asyncio.timeout(seconds):
                    await until(lambda: not self.is_scheduler_up or bool(dispatcher.membership()))
                    await scenario(dispatcher)
                    await until(lambda: dispatcher.num_requests == 0)
                    assert dispatcher.num_waiting == 0
                    assert not dispatcher._sessions.attempts
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
        return m.RouteAnswer(query.request_id, RoutingDecision(prefill, decode, disaggregate))

    def prefill(self, address: str, calls: AsyncIterator[m.PrefillCalls]) -> AsyncGenerator[m.PrefillEvents, None]:
        stream: FakeStream[m.PrefillCalls, m.PrefillEvents] = FakeStream()
        worker = self.workers.get(address)
        if worker is None or not worker.is_alive:
            stream.send(WorkerLost("connection refused"))
            return stream.serve(calls, lambda _: None, lambda: None)
        worker.prefills.append(stream)
        return stream.serve(calls, worker.on_prefill_call, lambda: None)

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


def make_request(name: str = "r0", max_tokens: int = 8, num_prompt: int = 40, **fields: Any) -> Request:
    prompt = [zlib.crc32(f"{name}{index}".encode()) % 1000 for index in range(num_prompt)]
    return Request(name, 0, "", 0, prompt, SamplingParams(max_tokens=max_tokens, seed=11), **fields)


async def read(generation: Generation) -> list[int]:
    """Every token, until the end."""
    token_ids: list[int] = []
    while tokens := await generation.next_tokens():
        token_ids.extend(token.token_id for token in tokens)
    return token_ids


async def pass_time(seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await pass_time(0.001)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(DispatchLimits())


@pytest.fixture
def pair(cluster: FakeCluster) -> FakeCluster:
    """One prefill worker, one decode worker."""
    cluster.add("prefill-0")
    cluster.add("decode-0", Role.DECODE)
    return cluster
