"""A decode worker as a prefill worker sees it: a scripted stream of links, and a channel that takes KV."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc

from penstock.core.errors import PenstockError
from penstock.core.types import WorkerRef
from penstock.transfer.peer_link import PeerLink
from penstock.wire.messages import Hello, LinkCalls, LinkEvents, LinkWelcome, ReservationEnded, Reserve, Reserved

LEASE_S = 9.0
REVISION = "r1"


@dataclass(frozen=True)
class Push:
    reservation_id: int
    source_blocks: list[int]
    destination_blocks: list[int]
    first_destination_token: int
    layers: range
    tokens: range
    deadline_s: float


class FakeChannel:
    """Takes every push, at once or when the test says so."""

    transport = "fake"

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.done: list[Push] = []
        self.stopped: list[int] = []
        self.is_closed = False
        self.failure: PenstockError | None = None
        self.gate: asyncio.Event | None = None
        self.stop_gate: asyncio.Event | None = None

    async def push(self, reservation_id: int, source: Sequence[int], destination: Sequence[int], *where: Any) -> None:
        push = Push(reservation_id, list(source), list(destination), *where)
        self.pushes.append(push)
        if self.gate:
            await self.gate.wait()
        if self.failure:
            raise self.failure
        self.done.append(push)

    async def stop(self, reservation_id: int) -> None:
        if self.stop_gate:
            await self.stop_gate.wait()
        self.stopped.append(reservation_id)

    async def close(self) -> None:
        self.is_closed = True


class FakeDecode:
    """Grants and starts by itself unless told otherwise; `say` and `fail` do the rest."""

    def __init__(self, name: str = "decode-0", incarnation: int = 22) -> None:
        self.ref = WorkerRef(name, incarnation, f"{name}:1")
        self.revision = REVISION
        self.channels: list[FakeChannel] = []
        self.heard: list[LinkCalls] = []
        self.num_streams = 0
        self.num_open = 0
        self.num_cached_tokens = 0
        self.refusals: list[PenstockError] = []  # said to the next reservations
        self.is_mute = False  # says nothing by itself, not even welcome
        self.has_grants = True
        self.has_starts = True
        self.channel_error: PenstockError | None = None
        self._events: asyncio.Queue[LinkEvents | Exception | None] = asyncio.Queue()

    @property
    def channel(self) -> FakeChannel:
        return self.channels[-1]

    def said(self, name: str) -> list[Any]:
        """Everything of one kind that was heard so far."""
        return [item for calls in self.heard for item in getattr(calls, name)]

    def say(self, **events: Any) -> None:
        self._events.put_nowait(LinkEvents(**events))

    def hang_up(self) -> None:
        self._events.put_nowait(None)

    def fail(self, status: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, code: str = "") -> None:
        trailing = grpc.aio.Metadata(*([("penstock-code", code)] if code else []))
        self._events.put_nowait(grpc.aio.AioRpcError(status, grpc.aio.Metadata(), trailing, "broken", None))

    async def link(self, ref: WorkerRef, calls: AsyncIterator[LinkCalls]) -> AsyncIterator[LinkEvents]:
        self.num_streams += 1
        self.num_open += 1
        events = self._events = asyncio.Queue()
        if not self.is_mute:
            self.say(welcome=LinkWelcome(self.ref, (), (), self.revision))
        reader = asyncio.create_task(self._read(calls))
        try:
            while (event := await events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.num_open -= 1
            reader.cancel()
            await asyncio.wait([reader])

    async def open_channel(self, welcome: LinkWelcome) -> FakeChannel:
        if self.channel_error:
            raise self.channel_error
        self.channels.append(FakeChannel())
        return self.channel

    async def _read(self, calls: AsyncIterator[LinkCalls]) -> None:
        async for call in calls:
            self.heard.append(call)
            for reserve in call.reserves:
                self._on_reserve(reserve)
            if self.has_starts and call.commits:
                self.say(started=[commit.reservation_id for commit in call.commits])

    def _on_reserve(self, reserve: Reserve) -> None:
        if self.refusals:
            self.say(refused=[ReservationEnded(reserve.reservation_id, self.refusals.pop(0))])
        elif self.has_grants:
            self.grant(reserve)

    def grant(self, reserve: Reserve) -> None:
        num_blocks = -(-reserve.num_tokens // 16) - self.num_cached_tokens // 16
        block_ids = list(range(50, 50 + num_blocks))
        self.say(reserved=[Reserved(reserve.reservation_id, block_ids, self.num_cached_tokens, LEASE_S)])


async def connect(decode: FakeDecode) -> PeerLink:
    link = PeerLink(decode.ref, Hello("prefill-0", 11, decode.ref.incarnation))
    await link.connect(decode.link, decode.open_channel)  # type: ignore[arg-type]
    return link


def reserve(reservation_id: int = 1, num_tokens: int = 40) -> Reserve:
    return Reserve(reservation_id, "r0", 0, "gateway", 0, num_tokens, 10)


def numbers() -> Callable[[], int]:
    counter = count(1)
    return lambda: next(counter)


async def cancel(task: "asyncio.Task[object]") -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
