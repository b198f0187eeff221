"""Embeddings on their way to a worker that prefills: every way it can go, and that staging memory comes free."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from penstock.core.errors import BlocksExhausted, TransferFailed, UnknownReservation, WorkerLost
from penstock.core.types import WorkerRef
from penstock.encoder.push import TRANSFER_TIMEOUT_S, EmbeddingPusher
from penstock.transfer.embeddings import allocate_embeddings, read_embeddings
from penstock.transfer.peer_link import PeerLink
from penstock.wire.messages import StageSpan
from tests.unit.encoder.fake_images import ROW_BYTES, make_start, rows_of
from tests.unit.prefill.fake_decode import FakeDecode, cancel, connect
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle

NUM_PAGES = 4


class Pushed:
    """An encoder's pusher, and the worker that takes what it pushes."""

    def __init__(self, peer: FakeDecode, link: PeerLink) -> None:
        self.peer = peer
        self.link = link
        self.memory = allocate_embeddings(NUM_PAGES * 16, ROW_BYTES // 2, 2, "uint16")
        self.pusher = EmbeddingPusher(self.memory, self._get_link, now_s)

    async def _get_link(self, ref: WorkerRef) -> PeerLink:
        if self.link.is_broken:
            raise WorkerLost("gone")
        return self.link

    def push(self, name: str = "red", num_tokens: int = 20) -> "asyncio.Task[list[StageSpan]]":
        start = make_start(name, 7, 2, num_tokens)
        return asyncio.create_task(self.pusher.push("gateway", start, rows_of(name, num_tokens)))


@asynccontextmanager
async def pushed() -> AsyncIterator[Pushed]:
    """At its end nothing is staged."""
    peer = FakeDecode("prefill-0")
    one = Pushed(peer, await connect(peer))
    yield one
    assert one.pusher.num_pages == 0
    await one.link.close()


@in_virtual_time
async def test_rows_are_staged_reserved_for_pushed_and_seen_to_arrive() -> None:
    async with pushed() as one:
        task = one.push()
        await settle()
        [reserve] = one.peer.said("reserves")
        assert (reserve.gateway_id, reserve.handle, reserve.image_index, reserve.num_tokens) == ("gateway", 7, 2, 20)
        [push] = one.peer.channel.done
        assert (push.destination_blocks, push.first_destination_token) == ([50, 51], 0)
        assert (push.layers, push.tokens) == (range(1), range(20))
        assert np.array_equal(read_embeddings(one.memory, push.source_blocks, 20), rows_of("red"))
        await pass_time(0.5)
        assert not task.done()
        assert one.pusher.num_pages == 2
        one.peer.say(started=[reserve.reservation_id])
        [span] = await task
        assert (span.stage, span.ended_ago_s) == ("transfer", 0.0)
        assert span.began_ago_s == pytest.approx(0.5, abs=1e-3)
        await settle()
        assert one.peer.said("released") == []


@in_virtual_time
async def test_a_refusal_is_passed_on() -> None:
    async with pushed() as one:
        one.peer.refusals = [BlocksExhausted("full")]
        with pytest.raises(BlocksExhausted):
            await one.push()
        assert one.peer.channel.pushes == []


@in_virtual_time
async def test_a_push_that_fails_is_given_up() -> None:
    async with pushed() as one:
        one.peer.channel.failure = TransferFailed("broken")
        with pytest.raises(TransferFailed, match="broken"):
            await one.push()
        await settle()
        assert one.peer.said("released") == [1]


@in_virtual_time
async def test_what_has_arrived_has_arrived_even_if_its_ack_is_lost() -> None:
    async with pushed() as one:
        one.peer.channel.gate = asyncio.Event()
        one.peer.channel.failure = TransferFailed("broken")
        task = one.push()
        await settle()
        one.peer.say(started=[1])
        await settle()
        assert not task.done()  # its pages are being read
        one.peer.channel.gate.set()
        await task


@in_virtual_time
async def test_a_promise_that_is_withdrawn_ends_the_push() -> None:
    async with pushed() as one:
        one.peer.channel.gate = asyncio.Event()
        task = one.push()
        await settle()
        one.peer.say(revoked=[1])
        with pytest.raises(UnknownReservation):
            await task
        await settle()
        assert one.peer.channel.stopped == one.peer.said("released") == [1]


@in_virtual_time
async def test_a_worker_that_never_says_that_it_arrived_is_not_waited_for_without_end() -> None:
    async with pushed() as one:
        with pytest.raises(TransferFailed, match="in time"):
            await one.push()
        assert now_s() - 1000.0 == pytest.approx(TRANSFER_TIMEOUT_S, abs=1e-3)
        await settle()
        assert one.peer.said("released") == [1]


@in_virtual_time
async def test_a_worker_that_dies_is_lost() -> None:
    async with pushed() as one:
        task = one.push()
        await settle()
        one.peer.fail()
        with pytest.raises(WorkerLost):
            await task
        with pytest.raises(WorkerLost):
            await one.push()


@pytest.mark.parametrize("has_grant", [True, False])
@in_virtual_time
async def test_a_push_that_nobody_wants_any_more_is_stopped(has_grant: bool) -> None:
    async with pushed() as one:
        one.peer.has_grants = has_grant
        one.peer.channel.gate = asyncio.Event()
        task = one.push()
        await settle()
        await cancel(task)
        await settle()
        assert one.peer.said("released") == [1]


@in_virtual_time
async def test_images_wait_for_staging_memory() -> None:
    async with pushed() as one:
        first, second = one.push("red", 40), one.push("blue", 40)
        await settle()
        assert len(one.peer.said("reserves")) == 1
        one.peer.say(started=[1])
        await first
        await settle()
        one.peer.say(started=[2])
        await second
        assert len(one.peer.channel.done) == 2


@in_virtual_time
async def test_an_image_that_fits_nowhere_is_refused() -> None:
    async with pushed() as one:
        start = replace(make_start(), image=replace(make_start().image, num_tokens=65))
        with pytest.raises(TransferFailed, match="larger"):
            await one.pusher.push("gateway", start, rows_of("red", 65))
