"""An encoder worker without its sockets: how it describes itself, drains, and goes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.core.errors import Draining, WorkerLost
from penstock.core.types import Role, WorkerState
from penstock.engine.image_encoder import VisionInfo
from penstock.engine.mock_costs import MockCosts
from penstock.engine.mock_image_encoder import MockImageEncoder
from penstock.runtime import clock
from penstock.runtime.outbox import Outbox
from penstock.runtime.settings import WorkerSettings
from penstock.wire import stubs
from penstock.wire.control_messages import FlipRequest, HoldingsRequest
from penstock.wire.encode_messages import EncodeEvents
from penstock.wire.messages import HeartbeatRequest, HeartbeatResponse, RegisterRequest, RegisterResponse
from penstock.worker import encoder_process
from penstock.worker.encoder_process import EncoderWorker
from tests.unit.aborting import Aborted, AbortingContext
from tests.unit.encoder.fake_images import make_start
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle
from tests.unit.worker.worker_process import FakeChannels, FakeServer

SETTINGS = WorkerSettings(worker_id="encoder-0", role="encoder", group="g", model="/models/seeing")
INFO = VisionInfo(16, 2, "bfloat16", "v1", bytes(16))
ENCODE_S = 0.1
CONTEXT: Any = AbortingContext()


class Process:
    """An encoder worker, the scheduler it is registered with, and a gateway that talks to it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.states: list[WorkerState] = []
        self.stop = asyncio.Event()
        patch.setattr(clock, "now_s", now_s)
        patch.setattr(encoder_process, "RpcServer", FakeServer)
        patch.setattr(encoder_process, "Channels", FakeChannels)
        patch.setattr(stubs, "membership_register", lambda _: self._register)
        patch.setattr(stubs, "router_heartbeat", lambda _: self._heartbeat)
        costs = MockCosts(encode_s=ENCODE_S, encode_s_per_patch=0.001)
        self.worker = EncoderWorker(SETTINGS, MockImageEncoder(INFO, 2, costs.encode, pass_time))
        self.encoder = self.worker._encoding.encoder
        self.encoder._deliver = self._deliver
        self.server: Any = self.worker._server
        self.deliver_s = 0.0
        self.news: Outbox[EncodeEvents] = Outbox()

    def start(self, name: str, handle: int) -> None:
        self.encoder.start("gateway", make_start(name, handle, num_tokens=20), self.news)

    def said(self, name: str) -> list[Any]:
        return [item for events in self.news._items for item in getattr(events, name)]

    async def _deliver(self, *_: object) -> list[Any]:
        await pass_time(self.deliver_s)
        return []

    async def _register(self, request: RegisterRequest, **_: object) -> RegisterResponse:
        return RegisterResponse("router:1", 1000.0)

    async def _heartbeat(self, request: HeartbeatRequest, **_: object) -> HeartbeatResponse:
        self.states.append(request.state)
        return HeartbeatResponse(True)


def in_process(test: Callable[[Process], Awaitable[None]]) -> Callable[[pytest.MonkeyPatch], None]:
    @in_virtual_time
    async def run(monkeypatch: pytest.MonkeyPatch) -> None:
        one = Process(monkeypatch)
        await test(one)
        await one.worker.close()

    return run


@in_process
async def test_it_says_what_it_is_and_how_much_it_has_to_do(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    await settle()
    [state] = one.states
    assert (state.role, state.group, state.model, state.revision) == (Role.ENCODER, "g", "seeing", "v1")
    assert state.encodes_images
    assert not state.takes_prefill
    assert not state.takes_decode
    one.start("a", 1)
    await settle()
    one.start("b", 2)
    state = one.worker.state()
    assert (state.num_waiting, state.num_running, state.num_prefill_tokens) == (1, 1, 160)
    holdings = await one.worker._holdings(HoldingsRequest(), CONTEXT)
    assert (holdings.num_images, holdings.num_embedding_pages) == (2, 0)
    await pass_time(1.0)
    state = one.worker.state()
    assert (state.num_waiting, state.num_running, state.num_prefill_tokens) == (0, 0, 0)
    assert state.prefill_s_per_token > 0
    one.stop.set()
    assert await running == 0


@in_process
async def test_a_drain_takes_nothing_new_and_delivers_what_it_has(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.deliver_s = 1.0
    one.start("a", 1)
    await settle()
    one.stop.set()
    await settle()
    one.start("b", 2)
    assert [type(ended.error) for ended in one.said("failed")] == [Draining]
    assert one.states[-1].is_draining
    assert one.server.said == [False]
    await running
    assert [delivered.handle for delivered in one.said("delivered")] == [1]


@in_process
async def test_what_is_not_delivered_in_time_is_handed_back(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.deliver_s = 1000.0
    one.start("a", 1)
    await pass_time(1.0)
    one.stop.set()
    await running
    await one.worker.close()
    assert [(ended.handle, type(ended.error)) for ended in one.said("failed")] == [(1, Draining)]


@in_process
async def test_a_device_that_fails_ends_the_worker_and_everyone_is_told(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))

    async def fail(*_: object) -> None:
        raise RuntimeError("device lost")

    one.encoder._images.encode = fail  # type: ignore[assignment, method-assign]
    one.start("a", 1)
    with pytest.raises(ExceptionGroup):
        await running
    await one.worker.close()
    assert [type(ended.error) for ended in one.said("failed")] == [WorkerLost]


@in_process
async def test_it_has_no_other_role(one: Process) -> None:
    with pytest.raises(Aborted, match="change_refused"):
        await one.worker._flip(FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation), CONTEXT)
