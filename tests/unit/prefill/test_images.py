"""Prompts with images on the prefiller: what is wanted, what arrives, and what the mock engine makes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.embeddings import EmbeddingBook
from penstock.core.errors import BlocksExhausted, TransferFailed, UnknownReservation, UnsupportedModel
from penstock.core.images import ImageSpan, hashed_token_ids
from penstock.core.types import Request
from penstock.engine.mock_runner import MockRunner, mock_layout
from penstock.prefill.image_intake import ImageIntake
from penstock.transfer.copies import SLICE_BYTES
from penstock.transfer.embeddings import allocate_embeddings, read_embeddings
from penstock.transfer.memory import Bytes, KvMemory
from penstock.wire.messages import WantedImages
from tests.unit.decode.decode_worker import FakeReceiver
from tests.unit.engine.mock_engine import COSTS, STEP_S, make_request
from tests.unit.prefill.test_loop import ME, PROMPT, PrefillWorker, prefill_worker
from tests.unit.virtual_time import in_virtual_time, pass_time

RED, BLUE = ImageSpan(4, 8, b"r" * 16, (1, 4, 8)), ImageSpan(20, 12, b"b" * 16, (1, 4, 12))
HIDDEN, ELEMENT = 8, 2
KEY = ("gateway", 0)


def rows_of(image: ImageSpan, salt: int = 0) -> Bytes:
    generator = np.random.default_rng(image.content_hash[0] + salt)
    return generator.integers(0, 256, (image.num_tokens, HIDDEN * ELEMENT), np.uint8)


def seeing(worker: PrefillWorker, num_pages: int = 8) -> tuple[ImageIntake, KvMemory]:
    """Give the worker a pool of embeddings, and an engine that reads it."""
    memory = allocate_embeddings(num_pages * 16, HIDDEN, ELEMENT, "uint16")
    worker.engine.runner = MockRunner(worker.engine.runner.info, mock_layout(64, 16), COSTS, pass_time, memory)
    worker.engine.book.embeddings = EmbeddingBook(num_pages)
    receiver: Any = FakeReceiver()
    return ImageIntake(worker.engine.book, memory, receiver, worker.prefiller.find), memory


def request(*images: ImageSpan, handle: int = 0) -> Request:
    made = make_request(PROMPT, handle=handle, images=images)
    return Request(
        made.request_id,
        0,
        "gateway",
        handle,
        PROMPT,
        made.sampling,
        images=images,
        block_hashes=hash_blocks(hashed_token_ids(PROMPT, images)),
    )


@asynccontextmanager
async def seeing_worker() -> AsyncIterator[tuple[PrefillWorker, ImageIntake]]:
    """At its end no page is held."""
    async with prefill_worker() as worker:
        intake, _ = seeing(worker)
        yield worker, intake
        await pass_time(10 * STEP_S)
        assert worker.engine.book.embeddings is not None
        assert worker.engine.book.embeddings.pool.num_referenced == 0


def first_tokens(worker: PrefillWorker) -> list[int]:
    return [first.token.token_id for first in worker.said("first_tokens")]


@in_virtual_time
async def test_what_is_wanted_is_said_with_the_acceptance() -> None:
    async with seeing_worker() as (worker, _):
        worker.start(request(RED, BLUE), ME)
        [events] = worker.outbox._items
        assert list(events.accepted_handles) == [0]
        assert events.wanted_images == [WantedImages(0, [0, 1])]
        worker.start(request(handle=1), ME)
        assert worker.outbox._items[1].wanted_images == ()
        worker.prefiller.cancel(KEY)


@in_virtual_time
async def test_a_prompt_runs_up_to_its_first_missing_image_and_to_its_end_when_all_are_there() -> None:
    async with seeing_worker() as (worker, intake):
        worker.start(request(RED, BLUE), ME)
        await pass_time(3 * STEP_S)
        sequence = worker.prefiller.find(KEY)
        assert sequence is not None
        assert sequence.num_computed_tokens == 4
        await intake.deliver(KEY, 1, BLUE, rows_of(BLUE))
        await pass_time(3 * STEP_S)
        assert sequence.num_computed_tokens == 4
        await intake.deliver(KEY, 0, RED, rows_of(RED))
        await pass_time(5 * STEP_S)
        assert len(first_tokens(worker)) == 1


@in_virtual_time
async def test_every_embedding_counts_and_in_which_order_they_come_does_not() -> None:
    tokens: list[int] = []
    for order, salt in [((0, 1), 0), ((1, 0), 0), ((0, 1), 1)]:
        async with seeing_worker() as (worker, intake):
            worker.start(request(RED, BLUE), ME)
            for index in order:
                image = (RED, BLUE)[index]
                await intake.deliver(KEY, index, image, rows_of(image, salt))
                await pass_time(2 * STEP_S)
            await pass_time(5 * STEP_S)
            tokens += first_tokens(worker)
    assert tokens[0] == tokens[1]
    assert tokens[2] != tokens[0]


@in_virtual_time
async def test_an_image_that_is_here_already_is_not_wanted_again() -> None:
    async with seeing_worker() as (worker, intake):
        worker.start(request(RED), ME)
        await intake.deliver(KEY, 0, RED, rows_of(RED))
        await pass_time(5 * STEP_S)
        later = ImageSpan(8, RED.num_tokens, RED.content_hash, RED.grid)
        worker.start(request(later, handle=1), ME)
        await pass_time(5 * STEP_S)
        assert len(worker.said("wanted_images")) == 1
        assert len(first_tokens(worker)) == 2


@in_virtual_time
async def test_a_full_pool_refuses_and_tells_of_room() -> None:
    async with seeing_worker() as (worker, _):
        large = ImageSpan(0, 8 * 16, b"l" * 16, (1, 4, 128))
        worker.start(request(large), ME)
        worker.start(request(RED, handle=1), ME)
        [refused] = worker.said("refused")
        assert (refused.handle, type(refused.error)) == (1, BlocksExhausted)
        worker.prefiller.cancel(KEY)
        assert any(events.has_capacity for events in worker.outbox._items)


@in_virtual_time
async def test_a_model_without_vision_refuses_images() -> None:
    async with prefill_worker() as worker:
        worker.start(request(RED), ME)
        [refused] = worker.said("refused")
        assert isinstance(refused.error, UnsupportedModel)


@in_virtual_time
async def test_what_nobody_waits_for_is_not_written() -> None:
    async with seeing_worker() as (worker, intake):
        with pytest.raises(UnknownReservation):
            await intake.deliver(KEY, 0, RED, rows_of(RED))
        worker.start(request(RED), ME)
        other = ImageSpan(RED.start, RED.num_tokens, BLUE.content_hash, RED.grid)
        for index, image in [(1, RED), (0, other)]:
            with pytest.raises(UnknownReservation):
                await intake.deliver(KEY, index, image, rows_of(image))
        with pytest.raises(TransferFailed):
            await intake.deliver(KEY, 0, BLUE, rows_of(BLUE))
        with pytest.raises(TransferFailed):
            await intake.deliver(KEY, 0, RED, rows_of(BLUE))
        await intake.deliver(KEY, 0, RED, rows_of(RED))
        with pytest.raises(UnknownReservation):
            await intake.deliver(KEY, 0, RED, rows_of(RED))


@in_virtual_time
async def test_a_request_that_is_cancelled_while_its_image_is_copied_gets_no_more_of_it() -> None:
    async with prefill_worker() as worker:
        num_tokens = 2 * SLICE_BYTES // (HIDDEN * ELEMENT)
        intake, memory = seeing(worker, num_tokens // 16)
        image = ImageSpan(0, num_tokens, b"l" * 16, (1, 4, num_tokens))
        worker.start(request(image), ME)
        sequence = worker.prefiller.find(KEY)
        assert sequence is not None
        [pages] = sequence.image_block_ids
        rows = np.full((num_tokens, HIDDEN * ELEMENT), 7, np.uint8)
        delivery = asyncio.create_task(intake.deliver(KEY, 0, image, rows))
        await asyncio.sleep(0)
        worker.prefiller.cancel(KEY)
        with pytest.raises(UnknownReservation):
            await delivery
        written = read_embeddings(memory, pages, num_tokens)
        assert written[: num_tokens // 2].all()
        assert not written[num_tokens // 2 :].any()


@in_virtual_time
async def test_a_prompt_that_is_handed_back_is_its_gateways_again() -> None:
    async with seeing_worker() as (worker, _):
        worker.start(request(RED), ME)
        error = BlocksExhausted("preempted")
        worker.prefiller.fail(KEY, error)
        worker.prefiller.fail(KEY, error)
        assert [(end.handle, end.error) for end in worker.said("failed")] == [(0, error)]
        assert worker.prefiller.find(KEY) is None
