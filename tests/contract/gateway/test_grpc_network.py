"""The dispatcher over real sockets: streams, probes, and what a peer's death looks like through gRPC."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from penstock.core.errors import IncarnationMismatch, NoWorkers, PenstockError, WorkerLost
from penstock.core.types import (
    Candidate,
    FinishReason,
    Request,
    Role,
    RoutingDecision,
    SampledToken,
    SamplingParams,
    WorkerRef,
    WorkerState,
)
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.grpc_network import GrpcNetwork
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.watch import Watch
from penstock.runtime import clock
from penstock.runtime.channel import Channels
from penstock.runtime.outbox import Outbox
from penstock.runtime.server import RpcServer
from penstock.runtime.sessions import converse, read_hello
from penstock.wire import control_messages as c
from penstock.wire import control_stubs, stubs
from penstock.wire import messages as m

NUM_TOKENS = 40


class Node:
    """A mixed worker that counts: the token at a position is the position. One engine step every few milliseconds."""

    def __init__(self, name: str, incarnation: int) -> None:
        self.ref = WorkerRef(name, incarnation, "")
        self.server = RpcServer()
        self.steps: Outbox[m.StepOutputs] = Outbox()
        self.cancelled: list[int] = []
        self.num_offers = 0
        self.is_dead = False

    async def start(self) -> None:
        self.server.add(lambda server: stubs.add_prefill(server, self.prefill, clock.now_s))
        self.server.add(lambda server: stubs.add_decode(server, self.decode, self.link, clock.now_s))
        self.server.add(lambda server: control_stubs.add_worker(server, self.drain, self.flip, self.holdings))
        address = await self.server.start("127.0.0.1:0")
        self.ref = WorkerRef(self.ref.worker_id, self.ref.incarnation, address)

    async def die(self) -> None:
        self.is_dead = True
        await self.server.stop(0.0)

    async def prefill(self, calls: AsyncIterator[m.PrefillCalls], context: Any) -> AsyncIterator[m.PrefillEvents]:
        _, _ = await read_hello(calls, self.ref.incarnation, context)
        outbox: Outbox[m.PrefillEvents] = Outbox()

        def on_call(call: m.PrefillCalls) -> None:
            self.cancelled += call.cancelled_handles
            for start in call.starts:
                self.num_offers += 1
                self.begin(start, outbox)

        async for events in converse(calls, on_call, outbox):
            yield events

    def begin(self, start: m.PrefillStart, outbox: Outbox[m.PrefillEvents]) -> None:
        handle, position = start.request.handle, len(start.request.output_token_ids)
        outbox.put(m.PrefillEvents([handle], first_tokens=[m.FirstToken(handle, SampledToken(position))]))
        outbox.put(m.PrefillEvents(handed_off=[m.HandedOff(handle, self.ref)]))
        self.step(handle, position + 1)

    def step(self, handle: int, position: int) -> None:
        if self.is_dead or handle in self.cancelled:
            return
        ends = [m.Finished(handle, FinishReason.LENGTH)] if position == NUM_TOKENS - 1 else []
        self.steps.put(m.StepOutputs(position, [handle], [position], [position], ends))
        if not ends:
            asyncio.get_running_loop().call_later(0.002, self.step, handle, position + 1)

    async def decode(self, calls: AsyncIterator[m.DecodeCalls], context: Any) -> AsyncIterator[m.StepOutputs]:
        _, _ = await read_hello(calls, self.ref.incarnation, context)
        async for outputs in converse(calls, lambda call: self.cancelled.extend(call.cancelled_handles), self.steps):
            yield outputs

    async def link(self, calls: AsyncIterator[m.LinkCalls], context: Any) -> AsyncIterator[m.LinkEvents]:
        async for _ in calls:
            yield m.LinkEvents()

    async def drain(self, request: c.DrainRequest, context: Any) -> c.DrainResponse:
        return c.DrainResponse(0)

    async def flip(self, request: c.FlipRequest, context: Any) -> c.FlipResponse:
        return c.FlipResponse(Role.PREFILL, 0)

    async def holdings(self, request: c.HoldingsRequest, context: Any) -> c.Holdings:
        return c.Holdings()


class ControlPlane:
    """Scheduler and router in one server."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.server = RpcServer()
        self.address = ""

    async def start(self) -> None:
        self.server.add(lambda server: stubs.add_membership(server, self.register, self.join))
        self.server.add(lambda server: stubs.add_router(server, self.route, self.heartbeat, clock.now_s))
        self.address = await self.server.start("127.0.0.1:0")

    async def register(self, request: m.RegisterRequest, context: Any) -> m.RegisterResponse:
        return m.RegisterResponse(self.address, 0.5)

    async def heartbeat(self, request: m.HeartbeatRequest, context: Any) -> m.HeartbeatResponse:
        return m.HeartbeatResponse(True)

    async def join(self, request: m.JoinRequest, context: Any) -> m.JoinResponse:
        return m.JoinResponse([("default", self.address)])

    async def route(self, calls: AsyncIterator[m.RouteCalls], context: Any) -> AsyncIterator[m.RouteEvents]:
        states = [WorkerState(node.ref, Role.MIXED) for node in self.nodes]
        yield m.RouteEvents(membership=m.MembershipView("default", states))
        async for call in calls:
            for query in call.queries:
                alive = [node.ref for node in self.nodes if node.ref.worker_id not in query.excluded_worker_ids]
                decision = RoutingDecision(tuple(Candidate(ref) for ref in alive), (), disaggregate=False)
                error = None if alive else NoWorkers("nobody is left")
                yield m.RouteEvents([m.RouteAnswer(query.request_id, decision if alive else None, error)])


class System:
    """Two nodes, a control plane and a dispatcher; everything is closed at the end."""

    async def __aenter__(self) -> "System":
        self.nodes = [Node("mixed-0", 11), Node("mixed-1", 12)]
        self.control = ControlPlane(self.nodes)
        for node in self.nodes:
            await node.start()
        await self.control.start()
        self.channels = Channels()
        self.network = GrpcNetwork(self.control.address, self.channels)
        watch = Watch(GatewayMetrics(CollectorRegistry(), "model"))
        self.dispatcher = RoutedDispatcher(m.Hello("gateway-0", 7, 0), "default", self.network, watch)
        await self.dispatcher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.dispatcher.close()
        await self.channels.close()
        for server in (self.control.server, *(node.server for node in self.nodes)):
            await server.stop(0.0)

    async def read(self, name: str) -> list[int]:
        request = Request(name, 0, "", 0, [1, 2, 3], SamplingParams(max_tokens=NUM_TOKENS))
        generation, output = self.dispatcher.generate(request), []
        while tokens := await generation.next_tokens():
            output += [token.token_id for token in tokens]
        return output


EXPECTED = list(range(NUM_TOKENS))


async def test_a_request_is_answered_over_sockets() -> None:
    async with System() as system:
        assert await system.read("r") == EXPECTED


async def test_streams_of_a_stopped_server_break_and_its_requests_are_resumed() -> None:
    async with System() as system:
        readers = [asyncio.create_task(system.read(f"r{index}")) for index in range(20)]
        while system.nodes[0].num_offers < 20:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        await system.nodes[0].die()
        assert await asyncio.gather(*readers) == [EXPECTED] * 20
        assert system.nodes[1].num_offers == 20


async def test_a_dead_control_plane_is_survived() -> None:
    async with System() as system:
        assert await system.read("before") == EXPECTED
        await system.control.server.stop(0.0)
        assert await system.read("after") == EXPECTED


async def test_cancellation_reaches_the_worker() -> None:
    async with System() as system:
        request = Request("r", 0, "", 0, [1], SamplingParams(max_tokens=NUM_TOKENS))
        generation = system.dispatcher.generate(request)
        await generation.next_tokens()
        generation.cancel()
        async with asyncio.timeout(5):
            while not system.nodes[0].cancelled:
                await asyncio.sleep(0.005)


async def test_a_probe_tells_the_living_from_the_dead() -> None:
    async with System() as system:
        address = system.nodes[0].ref.address
        await system.network.probe(address, 5.0)
        await system.nodes[0].die()
        with pytest.raises(WorkerLost):
            await system.network.probe(address, 1.0)


async def test_a_stream_meant_for_another_life_is_refused_as_such() -> None:
    async with System() as system:

        async def calls() -> AsyncIterator[m.PrefillCalls]:
            yield m.PrefillCalls(hello=m.Hello("gateway-0", 7, 999))
            await asyncio.get_running_loop().create_future()

        with pytest.raises(IncarnationMismatch):
            async for _ in system.network.prefill(system.nodes[0].ref.address, calls()):
                pass


async def test_closing_the_channels_ends_streams_with_an_error_and_not_with_a_cancellation() -> None:
    async with System() as system:

        async def calls() -> AsyncIterator[m.DecodeCalls]:
            yield m.DecodeCalls(hello=m.Hello("gateway-1", 7, 0))
            await asyncio.get_running_loop().create_future()

        async def listen() -> None:
            async for _ in system.network.decode(system.nodes[0].ref.address, calls()):
                pass

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0.05)
        await system.channels.close()
        with pytest.raises(PenstockError):
            await listener
