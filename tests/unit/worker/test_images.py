"""A worker that encodes what it prefills, on mocks of both halves of the model."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.errors import BlocksExhausted, UnknownReservation, WorkerLost
from penstock.core.images import ImageSpan, hashed_token_ids
from penstock.core.types import Request, SamplingParams, WorkerRef
from penstock.engine.image_encoder import VisionInfo
from penstock.engine.mock_costs import MockCosts
from penstock.engine.mock_image_encoder import MockImageEncoder, mock_embeddings, mock_embeddings_pool
from penstock.engine.mock_runner import MockRunner, mock_layout
from penstock.runtime.outbox import Outbox
from penstock.transfer.embeddings import read_embeddings
from penstock.wire.encode_messages import EncodeEvents, EncodeStart
from penstock.wire.messages import PrefillStart
from penstock.worker import vision
from tests.unit.engine.mock_engine import COSTS, STEP_S, make_engine
from tests.unit.virtual_time import in_virtual_time, pass_time
from tests.unit.worker.worker_process import SETTINGS, ClosableReceiver, Process

CONFIG = {"vision_config": {}, "hidden_size": 16}
INFO = VisionInfo(16, 2, "bfloat16", "mock", bytes(16))
PROMPT = list(range(40))
RED, BLUE = ImageSpan(4, 8, b"r" * 16, (1, 4, 8)), ImageSpan(20, 12, b"b" * 16, (1, 4, 12))
FILES = {RED: b"red", BLUE: b"blue"}


class Seeing(Process):
    """A worker whose model takes images, and a gateway that brings them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        pool = mock_embeddings_pool(CONFIG, 128)
        assert pool is not None
        self.pool = pool
        runner = MockRunner(make_engine().runner.info, mock_layout(8, 16), COSTS, pass_time, pool)
        costs = MockCosts(encode_s=STEP_S, encode_s_per_patch=0.0)
        patch.setattr(vision, "KvReceiver", ClosableReceiver)
        super().__init__(patch, SETTINGS, runner, MockImageEncoder(INFO, 2, costs.encode, pass_time))
        assert self.worker._vision.encoder is not None
        self.encoder = self.worker._vision.encoder
        self.encoded: Outbox[EncodeEvents] = Outbox()

    def ask(self, images: Sequence[ImageSpan], handle: int = 0, max_tokens: int = 2) -> Request:
        hashes = hash_blocks(hashed_token_ids(PROMPT, images))
        sampling = SamplingParams(max_tokens=max_tokens)
        request = Request("r", 0, "gateway", handle, PROMPT, sampling, images=images, block_hashes=hashes)
        self.worker._prefiller.start(PrefillStart(request, ()), self.news)
        return request

    def encode(self, request: Request, index: int, destination: WorkerRef | None = None) -> None:
        image, ref = request.images[index], destination or self.worker.state().ref
        start = EncodeStart("r", request.handle, index, image, FILES[image], ref)
        self.encoder.start("gateway", start, self.encoded)

    def said(self, name: str) -> list[Any]:
        return [item for events in [*self.news._items, *self.encoded._items] for item in getattr(events, name, ())]

    @property
    def num_pages(self) -> int:
        assert self.book.embeddings is not None
        return self.book.embeddings.pool.num_referenced


def in_seeing_process(test: Callable[[Seeing], Awaitable[None]]) -> Callable[[pytest.MonkeyPatch], None]:
    """While it works; at its end nothing is held."""

    @in_virtual_time
    async def run(monkeypatch: pytest.MonkeyPatch) -> None:
        one = Seeing(monkeypatch)
        running = asyncio.create_task(one.worker.run(one.stop))
        await test(one)
        one.stop.set()
        await running
        await one.worker.close()
        assert (one.num_pages, one.encoder.num_errands, one.book.pool.num_referenced) == (0, 0, 0)

    return run


@in_seeing_process
async def test_images_are_encoded_into_its_own_pool_and_the_prompt_goes_on(one: Seeing) -> None:
    assert one.worker.state().encodes_images
    request = one.ask([RED, BLUE])
    [wanted] = one.said("wanted_images")
    assert wanted.indices == [0, 1]
    [sequence] = one.book.owners
    pages = [list(of_image) for of_image in sequence.image_block_ids]
    for index in wanted.indices:
        one.encode(request, index)
    await pass_time(10 * STEP_S)
    assert [(end.handle, end.error) for end in one.ends()] == [(0, None)]
    assert sorted(delivered.index for delivered in one.said("delivered")) == [0, 1]
    for image, of_image in zip((RED, BLUE), pages, strict=True):
        made = mock_embeddings(FILES[image], image.num_tokens, 32)
        assert np.array_equal(read_embeddings(one.pool, of_image, image.num_tokens), made)


@in_seeing_process
async def test_images_for_another_life_or_another_worker_are_not_delivered_here(one: Seeing) -> None:
    request = one.ask([RED])
    me = one.worker.state().ref
    one.encode(request, 0, WorkerRef(me.worker_id, me.incarnation + 1, ""))
    await pass_time(3 * STEP_S)
    assert [type(failed.error) for failed in one.said("failed")] == [UnknownReservation]
    one.worker._prefiller.cancel(("gateway", 0))


@in_seeing_process
async def test_a_stream_whose_images_are_not_here_is_handed_back_when_it_must_make_room(one: Seeing) -> None:
    one.encode(one.ask([RED], max_tokens=1), 0)
    await pass_time(5 * STEP_S)
    one.ask([], handle=1, max_tokens=60)
    await pass_time(2 * STEP_S)
    one.ask([RED], handle=2, max_tokens=60)  # its image is in the prefix cache
    await pass_time(80 * STEP_S)
    assert len(one.said("wanted_images")) == 1
    assert [(end.handle, type(end.error)) for end in one.ends()] == [(2, BlocksExhausted), (1, type(None))]
    assert one.worker._engine.totals.num_preemptions == 1


@in_seeing_process
async def test_so_is_a_prompt_that_waits_for_another_image(one: Seeing) -> None:
    one.encode(one.ask([RED], max_tokens=1), 0)
    await pass_time(5 * STEP_S)
    one.ask([], handle=1, max_tokens=80)
    await pass_time(2 * STEP_S)
    one.ask([RED, BLUE], handle=2)
    await pass_time(100 * STEP_S)
    assert [(end.handle, type(end.error)) for end in one.failures()] == [(2, BlocksExhausted)]


@in_seeing_process
async def test_whoever_waits_for_embeddings_is_told_when_it_goes(one: Seeing) -> None:
    request = one.ask([RED])
    one.encode(request, 0)
    await one.worker._vision.hand_back(WorkerLost("going"))
    assert [type(failed.error) for failed in one.said("failed")] == [WorkerLost]
    one.worker._prefiller.cancel(("gateway", 0))
