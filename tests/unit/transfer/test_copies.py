"""Copies and checksums of parts, by long runs and by gathered rows."""

import asyncio
import threading

import numpy as np
import pytest
import xxhash
from penstock.core.kv_layout import KvLayout
from penstock.transfer.copies import INLINE_BYTES, CopyThreads, copy_and_hash, gather_and_hash, hash_rows, scatter
from penstock.transfer.layout import BlockTable, KvPart, Place, plan_copy

LAYOUTS = {
    "scattered blocks": (KvLayout(2, 4, 32, 16, 64, 2, "bfloat16"), list(range(40, 0, -2))),
    "long runs": (KvLayout(2, 8, 128, 16, 128, 2, "bfloat16"), list(range(100))),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_every_way_to_move_a_part_gives_the_same_bytes_and_checksum(case: str) -> None:
    layout, blocks = LAYOUTS[case]
    draw = np.random.default_rng(1)
    pool = draw.integers(0, 256, layout.num_bytes, np.uint8)
    copied, scattered = np.zeros_like(pool), np.zeros_like(pool)
    part = KvPart(range(2), range(3, len(blocks) * 16 - 5), range(layout.num_kv_heads))
    there = Place(layout, BlockTable.of(blocks[::-1] if case == "scattered blocks" else blocks))
    source, destination = plan_copy(Place(layout, BlockTable.of(blocks)), there, part)
    payload = np.empty(part.num_bytes(layout), np.uint8)

    checksum = gather_and_hash(pool, source, payload)
    scatter(payload, scattered, destination)

    assert copy_and_hash(pool, copied, source, destination) == checksum == xxhash.xxh3_64_intdigest(payload.tobytes())
    assert hash_rows(pool, source) == hash_rows(copied, destination) == hash_rows(scattered, destination) == checksum
    assert (copied == scattered).all()
    assert np.count_nonzero(copied) <= part.num_bytes(layout)


async def test_small_work_runs_at_once_and_large_work_on_a_thread() -> None:
    threads = CopyThreads(1)
    assert await threads.run(INLINE_BYTES, threading.current_thread) is threading.current_thread()
    assert await threads.run(INLINE_BYTES + 1, threading.current_thread) is not threading.current_thread()
    threads.close()


async def test_a_cancelled_caller_waits_until_its_copy_has_ended() -> None:
    threads = CopyThreads(1)
    has_begun, may_end, ended = threading.Event(), threading.Event(), []

    def copy() -> None:
        has_begun.set()
        may_end.wait(10)
        ended.append(True)

    caller = asyncio.create_task(threads.run(INLINE_BYTES + 1, copy))
    await asyncio.to_thread(has_begun.wait, 10)
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended == [True]
    threads.close()
