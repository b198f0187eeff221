"""Taking requests over: every order of reserve, KV and commit, and every way it can fail. No path may keep a block."""

import pytest

from penstock.core.errors import BlocksExhausted, Draining, StaleAttempt, UnknownReservation
from penstock.decode.intake import LEASE_S
from penstock.runtime.outbox import Outbox
from penstock.wire.messages import LinkCalls, LinkEvents
from tests.unit.decode.decode_worker import PEER, DecodeWorker, decode_worker, request, reserve_for, tokens_of
from tests.unit.engine.mock_engine import STEP_S, expected_tokens
from tests.unit.virtual_time import in_virtual_time, pass_time, settle

KEY = ("gateway", 0)


def refusals(events: list[LinkEvents]) -> list[type]:
    return [type(ended.error) for event in events for ended in event.refused]


async def finishes(worker: DecodeWorker, num_tokens: int = 40, handle: int = 0) -> None:
    """The request of that prompt is decoded to its end, with the right tokens."""
    outbox = worker.decoder.streams.open("gateway")
    await pass_time(20 * STEP_S)
    assert tokens_of(outbox, handle) == expected_tokens(range(num_tokens), 8)[1:]
    worker.decoder.streams.close("gateway", outbox)


# --- the way it should go ---


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
        resumed = type(resumed)(
            "r0", 1, "gateway", 5, resumed.prompt_token_ids, resumed.sampling, said[:3], resumed.block_hashes
        )
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


@in_virtual_time
async def test_refuses_a_commit_after_the_release() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.call(released=[1])
        worker.commit(request())
        assert refusals(worker.heard()) == [UnknownReservation]
        assert worker.num_referenced == 0


# --- cancellation ---


@in_virtual_time
async def test_a_cancellation_may_overtake_the_reservation() -> None:
    async with decode_worker() as worker:
        worker.intake.cancel(KEY)
        worker.reserve(request())
        assert refusals(worker.heard()) == [StaleAttempt]
        worker.reserve(request(handle=1), 2)
        assert worker.heard()[-1].reserved
        worker.call(released=[2])


@pytest.mark.parametrize("is_committed", [False, True])
@in_virtual_time
async def test_a_cancelled_reservation_keeps_its_blocks_until_nobody_writes_them(is_committed: bool) -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        if is_committed:
            worker.commit(request())
        worker.heard()
        worker.intake.cancel(KEY)
        worker.intake.cancel(KEY)
        assert worker.heard() == [LinkEvents(revoked=[1])]
        assert worker.receiver.expected == {}
        assert worker.intake.reservations.num_quarantined_blocks == worker.num_referenced == 3
        worker.commit(request())
        assert refusals(worker.heard()) == [UnknownReservation]
        worker.call(released=[1])
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_decoding_request_is_cancelled_by_the_decoder() -> None:
    async with decode_worker() as worker:
        await worker.hand_over(request(max_tokens=1000))
        await pass_time(3 * STEP_S)
        assert worker.decoder.cancel(KEY)
        assert not worker.decoder.cancel(KEY)
        await pass_time(2 * STEP_S)
        assert worker.num_referenced == 0
        await pass_time(10.0)  # the gateway never came for its tokens


@in_virtual_time
async def test_kv_that_is_complete_in_the_moment_of_the_release_starts_nothing() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.commit(request())
        worker.deliver(request())  # the news of it is on its way
        worker.call(released=[1])
        await settle()
        assert worker.decoder.num_sequences == 0
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_vanished_gateway_takes_its_reservations_with_it() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")
        await worker.hand_over(request(max_tokens=1000), 1)
        worker.reserve(request(handle=1), 2)
        await pass_time(2 * STEP_S)
        worker.decoder.streams.close("gateway", outbox)
        assert worker.heard()[-1] == LinkEvents(revoked=[2])
        worker.call(released=[2])
        await pass_time(2 * STEP_S)
        assert worker.num_referenced == 0


# --- leases ---


@in_virtual_time
async def test_a_lease_that_nobody_renews_ends() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.heard()
        await pass_time(LEASE_S - 0.1)
        assert worker.heard() == []
        await pass_time(0.2)
        assert worker.heard() == [LinkEvents(revoked=[1])]
        assert worker.num_referenced == 3
        worker.call(released=[1])


@in_virtual_time
async def test_renewals_and_commits_keep_a_promise() -> None:
    async with decode_worker() as worker:
        worker.reserve(request(), 1)
        worker.reserve(request(handle=1), 2)
        worker.heard()
        for _ in range(5):
            await pass_time(LEASE_S / 2)
            worker.call(renewed=[1, 99])
        assert worker.heard() == [LinkEvents(revoked=[2])]
        worker.commit(request())
        await pass_time(LEASE_S - 0.1)
        assert worker.heard() == []
        worker.call(released=[1, 2])


@in_virtual_time
async def test_after_its_lease_kv_and_commit_come_too_late() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        on_complete = worker.receiver.expected[PEER, 1].on_complete
        await pass_time(LEASE_S + 1)
        on_complete()
        worker.commit(request())
        assert refusals(worker.heard()) == [UnknownReservation]
        assert worker.decoder.num_sequences == 0
        worker.call(released=[1])


@in_virtual_time
async def test_revoked_blocks_are_free_when_the_peer_is_gone() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        await pass_time(LEASE_S + 1)
        assert worker.num_referenced == 3
        worker.receiver.lose(PEER)
        assert worker.num_referenced == 0


# --- links ---


@pytest.mark.parametrize("is_connected", [True, False])
@in_virtual_time
async def test_a_broken_link_withdraws_what_it_reserved(is_connected: bool) -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.commit(request())
        if not is_connected:
            worker.receiver.lose(PEER)
        worker.close_link()
        assert worker.num_referenced == (3 if is_connected else 0)  # it may still write to them
        if is_connected:
            worker.receiver.lose(PEER)
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_broken_link_does_not_disturb_what_has_started() -> None:
    async with decode_worker() as worker:
        await worker.hand_over(request())
        await settle()
        worker.close_link()
        worker.receiver.lose(PEER)
        await finishes(worker)


@in_virtual_time
async def test_blocks_that_were_revoked_before_the_link_broke_are_freed_too() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        worker.intake.cancel(KEY)
        worker.receiver.connected.clear()
        worker.close_link()
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_restarted_peer_ends_its_older_life() -> None:
    async with decode_worker() as worker:
        worker.reserve(request())
        older = worker.links[PEER]
        reborn = ("prefill-0", 12)
        worker.open_link(reborn)
        assert not older.put(LinkEvents())
        assert worker.num_referenced == 3
        worker.reserve(request(handle=1), 5)  # the old life still speaks
        assert worker.num_referenced == 3
        worker.receiver.lose(PEER)
        assert worker.num_referenced == 0
        worker.close_link()  # and ends at last: the new life is not touched by it
        worker.reserve(request(handle=2), 1, reborn)
        assert worker.num_referenced == 3
        worker.call(reborn, released=[1])


@in_virtual_time
async def test_what_comes_late_on_a_replaced_stream_is_ignored() -> None:
    """Its answers would go to a stream that never asked, and nobody would ever release what it got."""
    async with decode_worker() as worker:
        older: Outbox[LinkEvents] = worker.links[PEER]
        worker.open_link()
        worker.intake.on_calls(PEER, older, LinkCalls(reserves=[reserve_for(request())]))
        assert worker.num_referenced == 0
        assert worker.heard() == []


@in_virtual_time
async def test_a_hand_over_that_is_tried_again_replaces_what_was_started() -> None:
    """The link broke before the prefill worker heard of the start: it reserves once more on a new link."""
    async with decode_worker() as worker:
        await worker.hand_over(request(), 1)
        await pass_time(2 * STEP_S)
        worker.close_link()
        worker.receiver.lose(PEER)
        worker.receiver.connected.add(PEER)
        worker.open_link()
        worker.reserve(request(), 2)
        assert worker.heard()[-1].reserved[0].num_cached_tokens == 32
        worker.deliver(request(), 2)
        worker.commit(request(), 2)
        await settle()
        assert worker.decoder.num_sequences == 1
        outbox = worker.decoder.streams.open("gateway")
        await pass_time(30 * STEP_S)
        finished = [end.handle for step in outbox._items for end in step.finished]
        assert finished == [0]
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_release_that_crosses_the_news_of_the_start_ends_the_request_here() -> None:
    """The prefill worker gave up in that moment and hands the request to another: it must not be decoded twice."""
    async with decode_worker() as worker:
        await worker.hand_over(request(max_tokens=1000))
        await settle()
        assert worker.decoder.num_sequences == 1
        worker.call(released=[1])
        assert worker.decoder.num_sequences == 0
        await pass_time(2 * STEP_S)
        worker.call(released=[1])


@in_virtual_time
async def test_a_reservation_given_up_in_the_message_that_asks_for_it_leaves_nothing() -> None:
    async with decode_worker() as worker:
        worker.call(reserves=[reserve_for(request(), 1)], released=[1])
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_second_reservation_for_a_request_revokes_the_first() -> None:
    async with decode_worker() as worker:
        worker.reserve(request(), 1)
        worker.heard()
        worker.reserve(request(), 2)
        assert [event.revoked for event in worker.heard()] == [[1], ()]
        worker.intake.cancel(KEY)
        assert worker.heard() == [LinkEvents(revoked=[2])]
        worker.call(released=[1, 2])
