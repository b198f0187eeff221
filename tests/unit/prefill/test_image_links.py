"""Encoders that bring embeddings: every order of promises, arrivals and ends. No path may keep a page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.core.errors import PenstockError, TransferFailed, UnknownReservation
from penstock.core.images import ImageSpan
from penstock.runtime.outbox import Outbox
from penstock.transfer.embeddings import write_embeddings
from penstock.transfer.link_service import LinkService
from penstock.wire.messages import Hello, LinkCalls, LinkEvents, LinkWelcome, Reserve
from tests.unit.decode.decode_worker import Expected, FakeReceiver, take
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.prefill.test_images import BLUE, KEY, RED, first_tokens, request, rows_of, seeing
from tests.unit.prefill.test_loop import ME, PrefillWorker, prefill_worker
from tests.unit.virtual_time import in_virtual_time, pass_time, settle

FIRST, SECOND = ("encoder-0", 1), ("encoder-1", 2)
CONTEXT: Any = None


class Linked:
    """A worker that prefills and two encoders with links to it."""

    def __init__(self, worker: PrefillWorker) -> None:
        self.worker = worker
        self.intake, self.memory = seeing(worker)
        self.receiver: FakeReceiver = self.intake._receiver  # type: ignore[assignment]
        self.receiver.connected = {FIRST, SECOND}
        self.outboxes = {peer: self.intake.open_link(peer) for peer in (FIRST, SECOND)}

    def reserve(self, number: int, index: int, image: ImageSpan, peer: tuple[str, int] = FIRST) -> None:
        wish = Reserve(number, "r", 0, *KEY, image.num_tokens, 0, image_index=index)
        self.intake.on_calls(peer, self.outboxes[peer], LinkCalls(reserves=[wish]))

    def release(self, number: int, peer: tuple[str, int] = FIRST) -> None:
        self.intake.on_calls(peer, self.outboxes[peer], LinkCalls(released=[number]))

    def expected(self, number: int, peer: tuple[str, int] = FIRST) -> Expected:
        return self.receiver.expected[peer, number]

    def bring(self, number: int, image: ImageSpan, peer: tuple[str, int] = FIRST) -> None:
        """Everything arrives."""
        expected = self.expected(number, peer)
        write_embeddings(self.memory, expected.block_ids, rows_of(image))
        del self.receiver.expected[peer, number]
        expected.on_complete()

    def heard(self, peer: tuple[str, int] = FIRST) -> list[LinkEvents]:
        return take(self.outboxes[peer])

    def disconnect(self, peer: tuple[str, int]) -> None:
        self.receiver.connected.discard(peer)
        assert self.receiver.on_peer_gone is not None
        self.receiver.on_peer_gone(peer)

    @property
    def num_pages(self) -> int:
        assert self.worker.engine.book.embeddings is not None
        return self.worker.engine.book.embeddings.pool.num_referenced


@asynccontextmanager
async def linked() -> AsyncIterator[Linked]:
    """At its end no page is held and no promise stands."""
    async with prefill_worker() as worker:
        one = Linked(worker)
        worker.start(request(RED, BLUE), ME)
        yield one
        worker.prefiller.cancel(KEY)
        await pass_time(10 * STEP_S)
        for peer in (FIRST, SECOND):
            one.intake.close_link(peer, one.outboxes[peer])
            one.disconnect(peer)
        assert (one.num_pages, one.intake.num_promises) == (0, 0)


@in_virtual_time
async def test_images_that_two_encoders_bring_make_the_prompt_go_on() -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        one.reserve(1, 1, BLUE, SECOND)
        [granted] = one.heard()
        [reserved] = granted.reserved
        assert (reserved.reservation_id, reserved.num_cached_tokens) == (1, 0)
        assert list(reserved.block_ids) == list(one.expected(1).block_ids)
        assert (one.expected(1).first_token, one.expected(1).num_tokens) == (0, RED.num_tokens)
        one.bring(1, BLUE, SECOND)
        await pass_time(3 * STEP_S)
        assert first_tokens(one.worker) == []
        one.bring(1, RED)
        assert [list(events.started) for events in one.heard()] == [[1]]
        await pass_time(5 * STEP_S)
        assert len(first_tokens(one.worker)) == 1


@in_virtual_time
async def test_what_comes_over_a_link_counts_as_what_is_made_here() -> None:
    tokens: list[int] = []
    for is_remote in (True, False):
        async with linked() as one:
            for index, image in enumerate((RED, BLUE)):
                if is_remote:
                    one.reserve(index, index, image)
                    one.bring(index, image)
                else:
                    await one.intake.deliver(KEY, index, image, rows_of(image))
            await pass_time(5 * STEP_S)
            tokens += first_tokens(one.worker)
    assert len(tokens) == 2
    assert tokens[0] == tokens[1]


@pytest.mark.parametrize(
    ("index", "image", "error"), [(2, RED, UnknownReservation), (0, BLUE, TransferFailed), (1, RED, TransferFailed)]
)
@in_virtual_time
async def test_refuses_what_nobody_waits_for(index: int, image: ImageSpan, error: type[PenstockError]) -> None:
    async with linked() as one:
        one.reserve(7, index, image)
        [events] = one.heard()
        assert [(end.reservation_id, type(end.error)) for end in events.refused] == [(7, error)]
        assert one.receiver.expected == {}


@in_virtual_time
async def test_an_image_that_has_arrived_is_not_taken_again() -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        one.bring(1, RED)
        one.release(1)  # crossed the news of its arrival
        one.reserve(2, 0, RED, SECOND)
        [events] = one.heard(SECOND)
        assert isinstance(events.refused[0].error, UnknownReservation)


@in_virtual_time
async def test_an_encoder_that_gives_up_leaves_the_image_to_another() -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        pages = list(one.expected(1).block_ids)
        one.release(1)
        assert one.receiver.expected == {}
        one.reserve(1, 0, RED, SECOND)
        assert list(one.expected(1, SECOND).block_ids) == pages
        one.release(1, SECOND)


@in_virtual_time
async def test_pages_of_a_prompt_that_left_wait_for_their_writer() -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        late = one.expected(1)
        one.heard()
        one.worker.prefiller.cancel(KEY)
        assert one.receiver.expected == {}
        assert [list(events.revoked) for events in one.heard()] == [[1]]
        assert one.num_pages == len(late.block_ids)
        late.on_complete()  # the news of it was on its way
        assert one.num_pages == len(late.block_ids)
        one.release(1)
        assert one.num_pages == 0


@in_virtual_time
async def test_a_silent_encoder_is_not_waited_for() -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        hung = list(one.expected(1).block_ids)
        one.reserve(1, 0, RED, SECOND)
        assert not set(hung) & set(one.expected(1, SECOND).block_ids)
        one.bring(1, RED, SECOND)
        await one.intake.deliver(KEY, 1, BLUE, rows_of(BLUE))
        await pass_time(5 * STEP_S)
        assert len(first_tokens(one.worker)) == 1
        assert one.num_pages == len(hung)


@pytest.mark.parametrize("is_link_first", [True, False])
@in_virtual_time
async def test_the_death_of_an_encoder_frees_its_pages_for_another(is_link_first: bool) -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        num_pages = one.num_pages
        if is_link_first:
            one.intake.close_link(FIRST, one.outboxes[FIRST])
            one.disconnect(FIRST)
        else:
            one.disconnect(FIRST)
            one.intake.close_link(FIRST, one.outboxes[FIRST])
        assert one.intake.num_promises == 0
        assert one.num_pages == num_pages  # the prompt still waits for the image
        one.reserve(1, 0, RED, SECOND)
        one.bring(1, RED, SECOND)


@in_virtual_time
async def test_a_broken_link_with_open_transfers_keeps_its_pages_until_they_end() -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        one.intake.close_link(FIRST, one.outboxes[FIRST])
        one.outboxes[FIRST] = one.intake.open_link(FIRST)
        one.reserve(2, 0, RED)
        one.bring(2, RED)
        one.worker.prefiller.cancel(KEY)
        await settle()
        assert one.num_pages == 1
        one.disconnect(FIRST)
        assert one.num_pages == 0


@in_virtual_time
async def test_another_life_of_an_encoder_ends_what_the_first_had() -> None:
    async with linked() as one:
        one.reserve(1, 0, RED)
        again = (FIRST[0], FIRST[1] + 1)
        one.receiver.connected = {SECOND}
        stale, one.outboxes[again] = one.outboxes[FIRST], one.intake.open_link(again)
        assert stale.put(LinkEvents()) is False
        one.intake.on_calls(FIRST, stale, LinkCalls(released=[1]))
        assert one.intake.num_promises == 0
        one.intake.close_link(again, one.outboxes.pop(again))


@in_virtual_time
async def test_the_service_welcomes_and_its_end_withdraws() -> None:
    async with linked() as one:
        service = LinkService(one.intake, ME.incarnation)
        service.welcome = LinkWelcome(ME, [one.memory.layout], (), "v1")

        async def calls() -> AsyncIterator[LinkCalls]:
            yield LinkCalls(hello=Hello(*SECOND, ME.incarnation))
            yield LinkCalls(reserves=[Reserve(5, "r", 0, *KEY, RED.num_tokens, 0, image_index=0)])

        events = [event async for event in service.link(calls(), CONTEXT)]
        assert events[0].welcome == service.welcome
        assert [reserved.reservation_id for event in events for reserved in event.reserved] == [5]
        one.disconnect(SECOND)
        assert one.intake.num_promises == 0
        one.outboxes[SECOND] = Outbox()
