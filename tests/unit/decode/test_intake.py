"""Taking requests over: every order of reserve, KV and commit, and every way it can fail. No path may keep a block."""

from dataclasses import replace

import pytest

from penstock.core.errors import BlocksExhausted, Draining, TransferFailed, UnknownReservation
from penstock.core.types import Request
from penstock.wire.messages import LinkEvents
from tests.unit.decode.decode_worker import PEER, decode_worker, finishes, refusals, request, tokens_of
from tests.unit.engine.mock_engine import STEP_S, expected_tokens
from tests.unit.virtual_time import in_virtual_time, pass_time, settle


@pytest.mark.parametrize("is_commit_first", [True, False])
@pytest.mark.parametrize("num_tokens", [1, 16, 40, 64])
@in_virtual_time
async def test_starts_when_commit_and_kv_are_there(num_tokens: int, is_commit_first: bool) -> None:
    async with decode_worker() as worker:
        wanted = request(num_tokens)
        worker.reserve(wanted)
        [granted] = worker.heard()
        num_blocks = -(-num_tokens // 16)
        assert [(r.reservation_id, len(r.block_ids), r.num_cached_tokens) for r in granted.reserved] == [
            (1, num_blocks, 0)
        ]
        for part in (worker.commit, worker.deliver) if is_commit_first else (worker.deliver, worker.commit):
            assert worker.decoder.num_sequences == 0
            part(wanted)
            await settle()
        assert worker.heard() == [LinkEvents(started=[1])]
        assert len(worker.intake.reservations) == 0
        await finishes(worker, num_tokens)


@in_virtual_time
async def test_a_cached_prefix_is_not_asked_for_again() -> None:
    async with decode_worker() as worker:
        await worker.hand_over(request(40))
        await finishes(worker)
        worker.heard()
        again = request(40, handle=1)
        worker.reserve(again, 2)
        [granted] = worker.heard()
        assert granted.reserved[0].num_cached_tokens == 32
        assert len(granted.reserved[0].block_ids) == 1
        assert worker.receiver.expected[PEER, 2].first_token == 32
        worker.deliver(again, 2)
        worker.commit(again, 2)
        await finishes(worker, handle=1)


@in_virtual_time
async def test_a_wholly_cached_prompt_needs_no_transfer() -> None:
    async with decode_worker() as worker:
        await worker.hand_over(request(32))
        await finishes(worker, 32)
        worker.heard()
        again = request(32, handle=1)
        worker.reserve(again, 2)
        assert worker.heard()[0].reserved[0].block_ids == []
        assert worker.receiver.expected == {}
        assert worker.decoder.num_sequences == 0
        worker.commit(again, 2)
        assert worker.heard() == [LinkEvents(started=[2])]
        await finishes(worker, 32, handle=1)


@in_virtual_time
async def test_a_resumed_request_goes_on_after_the_tokens_it_brought() -> None:
    async with decode_worker() as worker:
        said = expected_tokens(range(40), 8)
        resumed = request(40)
        resumed = replace(resumed, attempt=1, handle=5, output_token_ids=said[:3])
        outbox = worker.decoder.streams.open("gateway")
        await worker.hand_over(resumed)
        await pass_time(20 * STEP_S)
        assert tokens_of(outbox, 5) == said[4:]
        assert outbox._items[0].positions == [4]


# --- refusals ---


@in_virtual_time
async def test_refuses_what_does_not_fit_and_says_when_there_is_room() -> None:
    async with decode_worker(num_blocks=4) as worker:
        worker.reserve(request(40), 1)
        for reservation_id in range(2, 50):
            worker.reserve(request(40, handle=reservation_id), reservation_id)
        events = worker.heard()
        assert refusals(events) == [BlocksExhausted] * 48
        assert len(worker.engine.book._room_watchers) == 1
        worker.call(released=[1])
        assert worker.heard() == [LinkEvents(has_capacity=True)]


@in_virtual_time
async def test_refuses_while_it_drains() -> None:
    async with decode_worker() as worker:
        worker.engine.book.is_draining = True
        worker.reserve(request())
        assert refusals(worker.heard()) == [Draining]


@in_virtual_time
async def test_refuses_a_commit_it_knows_nothing_of() -> None:
    async with decode_worker() as worker:
        worker.commit(request(), 77)
        assert refusals(worker.heard()) == [UnknownReservation]


@pytest.mark.parametrize("other", [request(39), request(41), request(40, handle=7)])
@pytest.mark.parametrize("has_kv", [False, True])
@in_virtual_time
async def test_refuses_a_commit_that_its_reservation_was_not_made_for(other: Request, has_kv: bool) -> None:
    """Its blocks would not hold what is decoded on them."""
    async with decode_worker() as worker:
        worker.reserve(request(40))
        if has_kv:
            worker.deliver(request(40))
        worker.commit(other)
        await settle()
        assert refusals(worker.heard()) == [TransferFailed]
        assert worker.decoder.num_sequences == 0
        worker.call(released=[1])
        assert worker.num_referenced == 0


@in_virtual_time
async def test_refuses_a_commit_after_the_release() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.call(released=[1])
        worker.commit(request())
        assert refusals(worker.heard()) == [UnknownReservation]
        assert worker.num_referenced == 0
