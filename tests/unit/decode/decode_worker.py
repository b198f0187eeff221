"""A decode worker without its sockets: engine, decoder and intake, fed by a receiver that the test plays."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from penstock.core.types import Request
from penstock.decode.intake import Intake
from penstock.decode.loop import Decoder
from penstock.engine.loop import EngineLoop
from penstock.engine.mock_runner import MASK, MULTIPLIER
from penstock.runtime.outbox import Outbox
from penstock.transfer.policy import Peer
from penstock.wire.messages import Commit, LinkCalls, LinkEvents, Reserve, StepOutputs
from tests.unit.engine.mock_engine import STEP_S, expected_tokens, make_engine, make_request, running
from tests.unit.virtual_time import now_s, pass_time

Item = TypeVar("Item")
PEER: Peer = ("prefill-0", 11)
KEY = ("gateway", 0)  # of `request`, unless it is given another handle


@dataclass
class Expected:
    block_ids: Sequence[int]
    first_token: int
    num_tokens: int
    on_complete: Callable[[], None]


class FakeReceiver:
    """What a KvReceiver is to the intake: it expects, forgets, and knows who is connected."""

    def __init__(self) -> None:
        self.me: Peer = ("decode-0", 22)
        self.on_peer_gone: Callable[[Peer], None] | None = None
        self.expected: dict[tuple[Peer, int], Expected] = {}
        self.connected: set[Peer] = {PEER}

    def expect(
        self,
        peer: Peer,
        reservation_id: int,
        block_ids: Sequence[int],
        first_token: int,
        num_tokens: int,
        on_complete: Callable[[], None],
    ) -> None:
        assert (peer, reservation_id) not in self.expected
        self.expected[peer, reservation_id] = Expected(block_ids, first_token, num_tokens, on_complete)

    def cancel(self, peer: Peer, reservation_id: int) -> None:
        self.expected.pop((peer, reservation_id), None)

    def is_peer_connected(self, peer: Peer) -> bool:
        return peer in self.connected

    def lose(self, peer: Peer) -> None:
        self.connected.discard(peer)
        assert self.on_peer_gone is not None
        self.on_peer_gone(peer)


class DecodeWorker:
    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.receiver = FakeReceiver()
        self.decoder = Decoder(engine.book, now_s)
        self.intake = Intake(engine.book, self.decoder, self.receiver, now_s)  # type: ignore[arg-type]
        self.links: dict[Peer, Outbox[LinkEvents]] = {}

    @property
    def num_referenced(self) -> int:
        return self.engine.book.pool.num_referenced

    # --- as a prefill worker ---

    def open_link(self, peer: Peer = PEER) -> None:
        self.links[peer] = self.intake.open_link(peer)

    def close_link(self, peer: Peer = PEER) -> None:
        self.intake.close_link(peer, self.links[peer])

    def call(self, peer: Peer = PEER, **calls: Sequence[object]) -> None:
        self.intake.on_calls(peer, self.links[peer], LinkCalls(**calls))  # type: ignore[arg-type]

    def reserve(self, request: Request, reservation_id: int = 1, peer: Peer = PEER) -> None:
        self.call(peer, reserves=[reserve_for(request, reservation_id)])

    def commit(self, request: Request, reservation_id: int = 1, peer: Peer = PEER) -> None:
        first = expected_tokens([*request.prompt_token_ids, *request.output_token_ids], 1)
        committed = replace(request, output_token_ids=[*request.output_token_ids, *first])
        self.call(peer, commits=[Commit(reservation_id, committed)])

    def deliver(self, request: Request, reservation_id: int = 1, peer: Peer = PEER) -> None:
        """Write the KV that a prefill worker would, and let the receiver find it whole."""
        expected = self.receiver.expected.pop((peer, reservation_id))
        planes = np.frombuffer(self.engine.runner.kv.view, np.uint64).reshape(4, -1)
        state = 0
        for position, token_id in enumerate([*request.prompt_token_ids, *request.output_token_ids]):
            state = (state * MULTIPLIER + token_id + 1) & MASK
            if position >= expected.first_token:
                at = position - expected.first_token
                planes[:, expected.block_ids[at // 16] * 16 + at % 16] = state
        asyncio.get_running_loop().call_soon(expected.on_complete)

    async def hand_over(self, request: Request, reservation_id: int = 1) -> None:
        self.reserve(request, reservation_id)
        self.deliver(request, reservation_id)
        self.commit(request, reservation_id)

    def heard(self, peer: Peer = PEER) -> list[LinkEvents]:
        return take(self.links[peer])


def take(outbox: Outbox[Item]) -> list[Item]:
    """What waits in an outbox right now."""
    items, outbox._items = outbox._items, []
    return items


def reserve_for(request: Request, reservation_id: int = 1) -> Reserve:
    return Reserve(
        reservation_id=reservation_id,
        request_id=request.request_id,
        attempt=request.attempt,
        gateway_id=request.gateway_id,
        handle=request.handle,
        num_tokens=request.num_tokens,
        max_new_tokens=10,
        block_hashes=request.block_hashes,
    )


def tokens_of(outbox: Outbox[StepOutputs], handle: int) -> list[int]:
    """Every token in it for one request, checking that positions leave no gap."""
    said: list[tuple[int, int]] = []
    for step in list(outbox._items):
        said += [
            (position, token_id)
            for at, token_id, position in zip(step.handles, step.token_ids, step.positions, strict=True)
            if at == handle
        ]
    assert [position for position, _ in said] == list(range(said[0][0], said[0][0] + len(said))) if said else True
    return [token_id for _, token_id in said]


@asynccontextmanager
async def decode_worker(num_blocks: int = 64) -> AsyncIterator[DecodeWorker]:
    """At its end no block and no reservation is left."""
    async with running(make_engine(num_blocks)) as engine:
        worker = DecodeWorker(engine)
        worker.open_link()
        yield worker
    assert len(worker.intake.reservations) == 0


def request(num_tokens: int = 40, handle: int = 0, max_tokens: int = 8, first: int = 0) -> Request:
    return make_request(list(range(first, first + num_tokens)), max_tokens, handle)


def refusals(events: list[LinkEvents]) -> list[type]:
    return [type(ended.error) for event in events for ended in event.refused]


async def finishes(worker: DecodeWorker, num_tokens: int = 40, handle: int = 0) -> None:
    """The request of that prompt is decoded to its end, with the right tokens."""
    outbox = worker.decoder.streams.open("gateway")
    await pass_time(20 * STEP_S)
    assert tokens_of(outbox, handle) == expected_tokens(range(num_tokens), 8)[1:]
    worker.decoder.streams.close("gateway", outbox)
