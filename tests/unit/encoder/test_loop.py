"""The encoder on a fake vision tower: batches, shared work, and every early end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from penstock.core.errors import Draining, QueueFull, StaleAttempt, UnknownReservation, UnreadableImage, WorkerLost
from penstock.core.policies.encoder_batching import EncodeLimits
from penstock.encoder.loop import EncoderLimits
from penstock.runtime.outbox import Outbox
from tests.unit.encoder.fake_images import ENCODE_S, EncodeWorker, make_start, rows_of
from tests.unit.virtual_time import in_virtual_time, pass_time, settle

LIMITS = EncoderLimits(max_waiting_images=4, cache_bytes=1000, batch=EncodeLimits(3, 100, 1000))


@asynccontextmanager
async def encode_worker(limits: EncoderLimits = LIMITS) -> AsyncIterator[EncodeWorker]:
    """At its end nothing is held."""
    worker = EncodeWorker(limits)
    task = asyncio.create_task(worker.encoder.run())
    yield worker
    await pass_time(2 * ENCODE_S)  # what runs is not stopped
    assert worker.encoder.num_errands == worker.encoder.num_waiting == worker.encoder.num_patches == 0
    assert worker.encoder._num_held_tokens == 0
    assert not worker.encoder._works
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await worker.encoder.close()


@in_virtual_time
async def test_an_image_is_encoded_delivered_and_told_of() -> None:
    async with encode_worker() as worker:
        worker.start(make_start("red", 7, 1))
        await settle()
        assert (worker.encoder.num_errands, worker.encoder.num_patches) == (1, 80)
        await pass_time(1.5 * ENCODE_S)
        [(gateway_id, start, rows)] = worker.taken
        assert (gateway_id, start.handle) == ("gateway", 7)
        assert np.array_equal(rows, rows_of("red"))
        [delivered] = worker.said("delivered")
        assert (delivered.handle, delivered.index, delivered.was_cached) == (7, 1, False)
        [span] = delivered.spans
        assert (span.stage, span.began_ago_s, span.ended_ago_s) == ("encode", pytest.approx(ENCODE_S), 0.0)
        assert worker.encoder.costs.prefill_s_per_token > 0


@in_virtual_time
async def test_stages_are_told_as_of_the_moment_of_telling() -> None:
    async with encode_worker() as worker:
        worker.deliver_s = 0.5
        worker.start(make_start())
        await pass_time(1.0)
        [span] = worker.said("delivered")[0].spans
        assert (span.began_ago_s, span.ended_ago_s) == (pytest.approx(ENCODE_S + 0.5), pytest.approx(0.5))


@in_virtual_time
async def test_what_gathers_while_a_batch_runs_is_the_next_batch() -> None:
    async with encode_worker() as worker:
        worker.start(make_start("a"))
        await settle()
        worker.start(*(make_start(name, index=at + 1) for at, name in enumerate("bcde")))
        await pass_time(3.5 * ENCODE_S)
        assert worker.images.batches == [["a"], ["b", "c", "d"], ["e"]]
        assert worker.delivered == [(0, index) for index in range(5)]


@in_virtual_time
async def test_the_same_image_asked_for_at_once_by_several_is_encoded_once() -> None:
    async with encode_worker() as worker:
        worker.start(make_start(handle=1))
        await settle()
        worker.start(make_start(handle=2), make_start(handle=3), make_start("blue", handle=3, index=1))
        worker.start(make_start("blue", handle=4))
        await pass_time(2.5 * ENCODE_S)
        assert worker.images.batches == [["red"], ["blue"]]
        assert sorted(worker.delivered) == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 0)]
        assert worker.encoder.totals.num_cache_hits == 3


@in_virtual_time
async def test_an_image_seen_before_comes_from_the_cache() -> None:
    async with encode_worker() as worker:
        worker.start(make_start())
        await pass_time(2 * ENCODE_S)
        worker.start(make_start(handle=1))
        await settle()
        assert worker.said("delivered")[-1].was_cached
        assert worker.said("delivered")[-1].spans == []
        assert worker.images.batches == [["red"]]


@in_virtual_time
async def test_a_slow_destination_stops_the_encoder_and_no_longer_than_it_is_slow() -> None:
    async with encode_worker() as worker:
        worker.deliver_s = 1.0
        worker.start(make_start("a", num_tokens=60))
        await pass_time(1.5 * ENCODE_S)
        worker.start(make_start("b", 1, num_tokens=60))
        await pass_time(2 * ENCODE_S)
        assert worker.images.batches == [["a"]]
        await pass_time(1.0)
        assert worker.images.batches == [["a"], ["b"]]
        await pass_time(1.0)


@in_virtual_time
async def test_cancelled_images_are_not_encoded_unless_somebody_else_wants_them() -> None:
    async with encode_worker() as worker:
        worker.start(make_start("a"))
        await settle()
        worker.start(make_start("b", 1), make_start("c", 1, 1), make_start("c", 2))
        worker.encoder.cancel(("gateway", 1))
        worker.encoder.cancel(("gateway", 1))
        await pass_time(2.5 * ENCODE_S)
        assert worker.images.batches == [["a"], ["c"]]
        assert worker.delivered == [(0, 0), (2, 0)]


@in_virtual_time
async def test_cancelling_what_is_encoded_or_delivered_right_now_tells_nobody() -> None:
    async with encode_worker() as worker:
        worker.deliver_s = 1.0
        worker.start(make_start("a"))
        await settle()
        worker.encoder.cancel(("gateway", 0))
        worker.start(make_start("a", 1))  # it is on its way already
        await pass_time(1.5 * ENCODE_S)
        worker.encoder.cancel(("gateway", 1))
        await pass_time(2.0)
        assert worker.images.batches == [["a"]]
        assert worker.taken == []
        assert worker.delivered == []


@in_virtual_time
async def test_one_file_that_is_no_image_fails_alone() -> None:
    async with encode_worker() as worker:
        worker.start(make_start("a"), make_start("bad", 1), make_start("c", 2))
        await pass_time(5 * ENCODE_S)
        assert worker.delivered == [(0, 0), (2, 0)]
        [ended] = worker.said("failed")
        assert (ended.handle, ended.index, type(ended.error)) == (1, 0, UnreadableImage)


@in_virtual_time
async def test_a_destination_that_wants_it_no_more_is_told_of() -> None:
    async with encode_worker() as worker:
        worker.error = UnknownReservation("gone")
        worker.start(make_start())
        await pass_time(2 * ENCODE_S)
        assert [(ended.handle, ended.error) for ended in worker.said("failed")] == [(0, worker.error)]


@in_virtual_time
async def test_refuses_what_is_there_already_and_what_would_wait_too_long() -> None:
    async with encode_worker() as worker:
        worker.start(make_start("a"))
        worker.start(make_start("a"))
        await settle()
        worker.start(*(make_start(name, at) for at, name in enumerate("bcdef", 1)))
        worker.start(make_start("b", 9))  # nothing more to encode
        assert [(end.handle, type(end.error)) for end in worker.said("failed")] == [(0, StaleAttempt), (5, QueueFull)]
        worker.encoder.is_draining = True
        worker.start(make_start("g", 10))
        assert isinstance(worker.said("failed")[-1].error, Draining)
        await pass_time(3 * ENCODE_S)
        assert len(worker.delivered) == 6


@in_virtual_time
async def test_the_end_of_a_stream_cancels_what_it_had_started_and_nothing_else() -> None:
    async with encode_worker() as worker:
        worker.start(make_start("a"))
        await settle()
        worker.start(make_start("b", 1), gateway_id="other")
        worker.encoder.cancel_gateway("gateway", Outbox())  # an older stream of the same gateway
        worker.encoder.cancel_gateway("other", worker.outbox)
        await pass_time(2 * ENCODE_S)
        assert worker.delivered == [(0, 0)]


@in_virtual_time
async def test_everybody_is_told_when_the_worker_goes() -> None:
    async with encode_worker() as worker:
        worker.deliver_s = 1.0
        worker.start(make_start("a"))
        await pass_time(1.5 * ENCODE_S)
        worker.start(make_start("b", 1), make_start("c", 2))
        await settle()
        worker.encoder.fail_all(WorkerLost("going"))
        assert [ended.handle for ended in worker.said("failed")] == [0, 1, 2]
        await pass_time(3 * ENCODE_S)
        assert worker.delivered == []
