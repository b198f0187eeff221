"""A worker process without its sockets, the scheduler it is registered with, and a gateway that talks to it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.core.types import SamplingParams, WorkerState
from penstock.engine.image_encoder import ImageEncoder
from penstock.engine.runner import Runner
from penstock.runtime import clock
from penstock.runtime.outbox import Outbox
from penstock.runtime.settings import WorkerSettings
from penstock.runtime.tls import Tls
from penstock.transfer.counters import TransferCounters
from penstock.transfer.policy import Peer
from penstock.wire import stubs
from penstock.wire.control_messages import FlipRequest, FlipResponse
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
from tests.unit.engine.mock_engine import make_engine, make_request
from tests.unit.virtual_time import in_virtual_time, now_s

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
        self.counters = TransferCounters()

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

    def flip(self, request: FlipRequest) -> FlipResponse:
        return self.worker._assignment.flip(request)

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
