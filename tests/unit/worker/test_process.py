"""One worker process without its sockets: how it describes itself, drains, and goes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock import __version__
from penstock.core.errors import ChangeRefused, Draining, IncarnationMismatch, WorkerLost
from penstock.core.types import Role, SamplingParams, WorkerState
from penstock.engine.image_encoder import ImageEncoder
from penstock.engine.runner import Runner
from penstock.runtime import clock
from penstock.runtime.outbox import Outbox
from penstock.runtime.settings import WorkerSettings
from penstock.runtime.tls import Tls
from penstock.transfer.policy import Peer
from penstock.wire import stubs
from penstock.wire.control_messages import FlipRequest
from penstock.wire.messages import (
    Finished,
    HeartbeatRequest,
    HeartbeatResponse,
    LinkCalls,
    PrefillEnded,
    PrefillEvents,
    PrefillStart,
    RegisterRequest,
    RegisterResponse,
)
from penstock.worker import process
from penstock.worker.process import Worker
from tests.unit.decode.decode_worker import PEER, FakeReceiver, reserve_for, take
from tests.unit.engine.mock_engine import STEP_S, make_engine, make_request
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle

SETTINGS = WorkerSettings(worker_id="mixed-0", group="g", max_num_sequences=16, max_batch_tokens=64)


class FakeServer:
    """Notes what the health service would say, and when it was stopped."""

    def __init__(self, tls: Tls | None) -> None:
        self.said: list[bool | str] = []

    async def set_serving(self, is_serving: bool) -> None:
        self.said.append(is_serving)

    async def stop(self, grace_s: float) -> None:
        self.said.append("stopped")


class ClosableReceiver(FakeReceiver):
    def __init__(self, me: Peer) -> None:
        super().__init__()
        self.me = me

    async def close(self) -> None:
        for peer in list(self.connected):
            self.lose(peer)


class FakeChannels:
    def __init__(self, tls: Tls | None) -> None: ...

    def get(self, address: str) -> str:
        return address

    async def close(self) -> None: ...


class Process:
    """A worker, the scheduler it is registered with, and a gateway that talks to it."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        settings: WorkerSettings,
        runner: Runner | None = None,
        images: ImageEncoder | None = None,
    ) -> None:
        self.states: list[WorkerState] = []
        self.stop = asyncio.Event()
        patch.setattr(clock, "now_s", now_s)
        patch.setattr(process, "RpcServer", FakeServer)
        patch.setattr(process, "Channels", FakeChannels)
        patch.setattr(process, "KvReceiver", ClosableReceiver)
        patch.setattr(stubs, "membership_register", lambda _: self._register)
        patch.setattr(stubs, "router_heartbeat", lambda _: self._heartbeat)
        self.runner = runner or make_engine().runner
        self.worker = Worker(settings, self.runner, images=images)
        self.server: Any = self.worker._server
        self.book = self.worker._engine.book
        self.news: Outbox[PrefillEvents] = Outbox()
        self.steps = self.worker._decoder.streams.open("gateway")

    def start(self, handle: int, max_tokens: int = 8) -> None:
        request = make_request(range(40), handle=handle, sampling=SamplingParams(max_tokens=max_tokens))
        self.worker._prefiller.start(PrefillStart(request, ()), self.news)

    def reserve(self, handle: int) -> "Outbox[Any]":
        link = self.worker._intake.open_link(PEER)
        request = make_request(range(100, 140), handle=handle)
        self.worker._intake.on_calls(PEER, link, LinkCalls(reserves=[reserve_for(request)]))
        return link

    def ends(self) -> list[Finished]:
        return [end for step in take(self.steps) for end in step.finished]

    def failures(self) -> list[PrefillEnded]:
        return [end for events in take(self.news) for end in [*events.failed, *events.refused]]

    async def _register(self, request: RegisterRequest, **_: object) -> RegisterResponse:
        return RegisterResponse("router:1", 1000.0)

    async def _heartbeat(self, request: HeartbeatRequest, **_: object) -> HeartbeatResponse:
        self.states.append(request.state)
        return HeartbeatResponse(True)


def in_process(
    settings: WorkerSettings = SETTINGS,
) -> Callable[[Callable[[Process], Awaitable[None]]], Callable[[pytest.MonkeyPatch], None]]:
    def decorate(test: Callable[[Process], Awaitable[None]]) -> Callable[[pytest.MonkeyPatch], None]:
        @in_virtual_time
        async def run(monkeypatch: pytest.MonkeyPatch) -> None:
            await test(Process(monkeypatch, settings))

        return run

    return decorate


@in_process(WorkerSettings(worker_id="prefill-7", role="prefill", group="g", max_num_sequences=9))
async def test_describes_what_it_is(one: Process) -> None:
    state = one.worker.state()
    assert (state.ref.worker_id, state.role, state.group, state.version) == (
        "prefill-7",
        Role.PREFILL,
        "g",
        __version__,
    )
    assert state.ref.incarnation == one.worker._receiver.me[1] != 0
    assert (state.model, state.revision) == ("mock", "1")
    assert (state.block_size, state.num_blocks, state.max_num_sequences) == (16, 64, 9)
    assert (state.is_draining, state.transports) == (False, ())
    await one.worker.close()


@in_process()
async def test_describes_what_it_holds(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=20)
    one.start(1, max_tokens=20)
    state = one.worker.state()
    assert (state.num_waiting, state.num_running, state.num_prefill_tokens) == (2, 0, 80)
    assert state.num_free_blocks == 64 - 6
    await pass_time(4.5 * STEP_S)
    state = one.worker.state()
    assert (state.num_waiting, state.num_running, state.num_prefill_tokens) == (0, 2, 0)
    assert state.num_context_tokens > 80
    assert state.num_decoding == 2
    assert state.token_interval_s == pytest.approx(STEP_S)
    costs = one.worker._engine.costs
    assert (state.prefill_base_s, state.prefill_s_per_token) == (costs.prefill_base_s, costs.prefill_s_per_token)
    assert state.prefill_base_s + state.prefill_s_per_token > 0
    one.stop.set()
    await running
    await one.worker.close()


@in_process()
async def test_a_drain_takes_nothing_new_and_finishes_what_is_held(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0)
    await pass_time(2.5 * STEP_S)
    assert [state.is_draining for state in one.states] == [False]
    one.stop.set()
    await settle()
    assert [state.is_draining for state in one.states] == [False, True]
    assert one.server.said == [False]
    take(one.news)
    one.start(1)
    assert [type(end.error) for end in one.failures()] == [Draining]
    assert await running == 0
    assert [(end.handle, end.error) for end in one.ends()] == [(0, None)]
    await one.worker.close()
    assert one.ends() == []
    assert one.server.said == [False, "stopped"]


@in_process(WorkerSettings(worker_id="mixed-0", drain_timeout_s=3.0))
async def test_what_a_drain_cannot_finish_in_time_is_handed_back(one: Process) -> None:
    began_s = now_s()
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    link = one.reserve(1)
    assert take(link)[0].reserved
    one.stop.set()
    assert await running == 0
    assert now_s() - began_s == pytest.approx(3.0, abs=0.1)
    take(one.steps), take(link)
    await one.worker.close()
    assert [(end.handle, type(end.error)) for end in one.ends()] == [(0, Draining)]
    assert [list(events.revoked) for events in take(link)] == [[1]]
    assert len(one.worker._intake.reservations) == 0
    assert one.book.owners == {}


@in_process(WorkerSettings(worker_id="decode-0", role="decode"))
async def test_a_flip_changes_the_role_at_once_and_finishes_what_is_held(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0)
    await pass_time(2.5 * STEP_S)
    answer = one.worker.flip(FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation))
    assert (answer.previous_role, answer.num_sequences) == (Role.DECODE, 1)
    await settle()
    assert [state.role for state in one.states] == [Role.DECODE, Role.PREFILL]  # the router hears of it at once
    await pass_time(20 * STEP_S)
    assert [(end.handle, end.error) for end in one.ends()] == [(0, None)]
    one.start(1)
    assert one.failures() == []
    one.stop.set()
    await running
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode", drain_timeout_s=3.0))
async def test_a_move_to_another_group_waits_until_it_is_idle(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0)
    await pass_time(2.5 * STEP_S)
    one.worker.flip(FlipRequest(Role.PREFILL, one.worker.state().ref.incarnation, "long"))
    await settle()
    state = one.worker.state()
    assert (state.group, state.role, state.is_draining) == ("default", Role.PREFILL, True)
    await pass_time(20 * STEP_S)
    assert [(end.handle, end.error) for end in one.ends()] == [(0, None)]
    state = one.worker.state()
    assert (state.group, state.is_draining) == ("long", False)
    assert one.states[-1].group == "long"  # the old router hears it, and lets it go
    one.stop.set()
    await running
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode", drain_timeout_s=3.0))
async def test_a_move_hands_back_what_does_not_end_in_time(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    await pass_time(2.5 * STEP_S)
    one.worker.flip(FlipRequest(Role.DECODE, one.worker.state().ref.incarnation, "long"))
    await pass_time(3.5)
    assert [(end.handle, type(end.error)) for end in one.ends()] == [(0, Draining)]
    assert one.worker.state().group == "long"
    one.stop.set()
    await running
    await one.worker.close()


@in_process(WorkerSettings(worker_id="decode-0", role="decode"))
async def test_a_flip_meant_for_another_life_or_for_what_it_cannot_be_is_refused(one: Process) -> None:
    incarnation = one.worker.state().ref.incarnation
    with pytest.raises(IncarnationMismatch):
        one.worker.flip(FlipRequest(Role.PREFILL, incarnation + 1))
    with pytest.raises(ChangeRefused, match="no encoder"):
        one.worker.flip(FlipRequest(Role.ENCODER, incarnation))
    one.book.is_draining = True
    with pytest.raises(Draining):
        one.worker.flip(FlipRequest(Role.PREFILL, incarnation))
    assert one.worker.state().role is Role.DECODE
    await one.worker.close()


@in_process()
async def test_a_device_that_fails_ends_the_worker_and_everyone_is_told(one: Process) -> None:
    running = asyncio.create_task(one.worker.run(one.stop))
    one.start(0, max_tokens=100_000)
    await pass_time(4.5 * STEP_S)
    link = one.reserve(1)
    one.start(2)

    async def fail(*_: object) -> None:
        raise RuntimeError("device lost")

    one.runner.execute = fail  # type: ignore[assignment, method-assign]
    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert [str(error) for error in caught.value.exceptions] == ["device lost"]
    one.start(3)  # its streams are open still
    one.ends(), one.failures(), take(link)
    await one.worker.close()
    assert [(end.handle, type(end.error)) for end in one.ends()] == [(0, WorkerLost)]
    assert {(end.handle, type(end.error)) for end in one.failures()} == {(2, WorkerLost), (3, WorkerLost)}
    assert [list(events.revoked) for events in take(link)] == [[1]]
    assert len(one.worker._intake.reservations) == 0
    one.start(4)
    assert [type(end.error) for end in one.failures()] == [Draining]
    assert one.server.said == ["stopped"]
