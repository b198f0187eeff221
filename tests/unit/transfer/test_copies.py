"""Copies and checksums of parts, by long runs and by gathered rows."""

import asyncio
import itertools

import numpy as np
import pytest
import xxhash

from penstock.core.kv_layout import KvLayout
from penstock.transfer.copies import (
    PIECE_BYTES,
    SLICE_BYTES,
    CopyLane,
    Sliced,
    check_and_scatter,
    copy_and_hash,
    gather_and_hash,
    hash_rows,
)
from penstock.transfer.layout import BlockTable, KvPart, Place, Rows, plan_copy

LAYOUTS = {
    "scattered blocks": (KvLayout(2, 4, 32, 16, 64, 2, "bfloat16"), list(range(40, 0, -2))),
    "long runs of unequal length": (KvLayout(2, 8, 128, 16, 128, 2, "bfloat16"), [*range(20), *range(40, 100)]),
    "long runs": (KvLayout(2, 8, 128, 16, 128, 2, "bfloat16"), list(range(100))),
}


def result(work: Sliced[int]) -> int:
    """Run a copy to its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return int(end.value)


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

    checksum = result(gather_and_hash(pool, source, payload))
    assert result(check_and_scatter(payload, checksum, scattered, destination, lambda: True)) == checksum

    assert checksum == xxhash.xxh3_64_intdigest(payload.tobytes())
    assert result(copy_and_hash(pool, copied, source, destination)) == checksum
    for where, rows in ((pool, source), (copied, destination), (scattered, destination)):
        assert result(hash_rows(where, rows)) == checksum
    assert (copied == scattered).all()
    assert np.count_nonzero(copied) <= part.num_bytes(layout)


async def test_copies_take_turns_and_let_the_loop_run_between_slices() -> None:
    lane, log = CopyLane(), []

    def copy(name: str) -> Sliced[str]:
        for number in range(3):
            log.append(f"{name}{number}")
            yield
        return name

    async def other() -> None:
        for _ in range(3):
            log.append("loop")
            await asyncio.sleep(0)

    first, second, _ = await asyncio.gather(lane.run(copy("a")), lane.run(copy("b")), other())
    assert (first, second) == ("a", "b")
    assert [entry for entry in log if entry != "loop"] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert log.index("loop") < log.index("a1")


async def test_a_cancelled_copy_ends_at_once_and_the_next_takes_its_turn() -> None:
    lane, slices = CopyLane(), []

    def copy() -> Sliced[None]:
        for number in range(1000):
            slices.append(number)
            yield

    first = asyncio.create_task(lane.run(copy()))
    second = asyncio.create_task(lane.run(hash_rows(np.zeros(64, np.uint8), Rows(64, np.zeros(1, np.int64)))))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == xxhash.xxh3_64_intdigest(bytes(64))
    assert first.cancelled()
    assert len(slices) < 5


@pytest.mark.parametrize("case", LAYOUTS)
def test_large_copies_are_sliced(case: str) -> None:
    layout, blocks = LAYOUTS["long runs"]
    pool = np.zeros(layout.num_bytes, np.uint8)
    part = KvPart(range(2), range(1600), range(8))
    table = BlockTable.of(blocks if case == "long runs" else blocks[::-1])
    rows = Place(layout, table).rows(part)
    payload = np.empty(part.num_bytes(layout), np.uint8)
    num_slices = part.num_bytes(layout) // SLICE_BYTES
    assert num_slices <= len(list(copy_and_hash(pool, pool.copy(), rows, rows))) + 1
    assert num_slices <= len(list(gather_and_hash(pool, rows, payload))) + 1
    assert num_slices // 2 <= len(list(hash_rows(pool, rows))) + 1


def test_runs_of_unequal_length_share_a_slice() -> None:
    layout = KvLayout(2, 8, 128, 16, 128, 2, "bfloat16")
    lengths = itertools.cycle((3, 4))  # blocks of 32 KiB in each plane: runs far shorter than a slice
    blocks = [first + n for first in range(0, 120, 5) for n in range(next(lengths))]
    pool = np.zeros(layout.num_bytes, np.uint8)
    part = KvPart(range(2), range(16 * len(blocks)), range(8))
    rows = Place(layout, BlockTable.of(blocks)).rows(part)
    num_slices = part.num_bytes(layout) // SLICE_BYTES
    assert num_slices - 1 <= len(list(copy_and_hash(pool, pool.copy(), rows, rows))) <= 2 * num_slices


def test_a_payload_that_is_corrupt_or_unwanted_is_not_written() -> None:
    layout, blocks = LAYOUTS["long runs"]
    rows = Place(layout, BlockTable.of(blocks)).rows(KvPart(range(2), range(1600), range(8)))
    payload = np.ones(len(rows.index) * rows.row_bytes, np.uint8)
    checksum = xxhash.xxh3_64_intdigest(payload.data)
    pool = np.zeros(layout.num_bytes, np.uint8)

    assert result(check_and_scatter(payload, checksum + 1, pool, rows, lambda: True)) == checksum
    assert not pool.any()
    wanted = iter([True, True])
    result(check_and_scatter(payload, checksum, pool, rows, lambda: next(wanted, False)))
    assert np.count_nonzero(pool) == 2 * PIECE_BYTES
