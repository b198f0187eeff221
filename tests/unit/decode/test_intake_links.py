"""Links from prefill workers that break, come back, or try again: what was promised on them, and what has started."""

import pytest

from penstock.runtime.outbox import Outbox
from penstock.wire.messages import LinkCalls, LinkEvents
from tests.unit.decode.decode_worker import KEY, PEER, decode_worker, finishes, request, reserve_for
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.virtual_time import in_virtual_time, pass_time, settle


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
