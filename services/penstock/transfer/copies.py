"""Moving and hashing the bytes of a part in slices, so that the event loop is never held for long.

A slice is hashed right after its copy, while the core has it in its cache: a checksum costs a fifth of the copy. Each
function here is a generator that yields after about `SLICE_BYTES` and returns its result; a `CopyLane` runs it on the
event loop.

Why not on threads: with one that copies at the sender and one that checks at the receiver, on two cores, pushes of 16
to 256 MiB took 1.2 to 1.4 times as long. Each call's end waits for the interpreter lock, and the loops wait for a core.
numpy and xxhash do release the lock, so the engine's thread computes meanwhile.
"""

import asyncio
import itertools
from collections.abc import Callable, Generator, Iterator
from functools import lru_cache
from typing import TypeVar

import numpy as np
import xxhash

from penstock.transfer.layout import Indices, Rows, paired_runs
from penstock.transfer.memory import Bytes, page_aligned

PIECE_BYTES = 256 << 10  # well inside the second-level cache of a core
SLICE_BYTES = 2 << 20  # 0.2 to 0.4 ms of the event loop
LONG_RUN_BYTES = 96 << 10  # from here on a run at a time beats gathering many

T = TypeVar("T")
Sliced = Generator[None, None, T]


class CopyLane:
    """Runs one copy at a time, in the order they came: the first is on its way to the peer while the next is copied.

    A caller that is cancelled leaves between two slices: afterwards nothing of its copy is under way.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, work: Sliced[T]) -> T:
        async with self._turn:
            while True:
                try:
                    next(work)
                except StopIteration as end:
                    result: T = end.value
                    return result
                await asyncio.sleep(0)


def copy_and_hash(source: Bytes, destination: Bytes, source_rows: Rows, destination_rows: Rows) -> Sliced[int]:
    """Copy a part from pool to pool; returns its checksum as read from the source."""
    source_offsets, destination_offsets, lengths = paired_runs(source_rows, destination_rows)
    if lengths.mean() < LONG_RUN_BYTES:
        return (yield from _copy_rows(source, destination, source_rows, destination_rows))
    digest = xxhash.xxh3_64()
    num_bytes = 0
    for first, stop in _even_runs(source_offsets, destination_offsets, lengths):
        shape = stop - first, int(lengths[first])
        to_runs = _view(destination, destination_offsets[first:stop], shape)
        for num_copied in _copy_runs(_view(source, source_offsets[first:stop], shape), to_runs, digest):
            num_bytes += num_copied
            if num_bytes > SLICE_BYTES // 2:  # whole runs may fill little more than that
                num_bytes = 0
                yield
    return digest.intdigest()


def _even_runs(source_offsets: Indices, destination_offsets: Indices, lengths: Indices) -> Iterator[tuple[int, int]]:
    """Ranges of runs that have one length and one distance at either end, as those of contiguous blocks do: one in
    each plane. Either all runs or one by one."""
    num_runs = len(lengths)
    columns = (np.diff(source_offsets), np.diff(destination_offsets), lengths)
    if num_runs > 1 and all((column == column[0]).all() for column in columns):
        yield 0, num_runs
    else:
        yield from itertools.pairwise(range(num_runs + 1))


def _view(pool: Bytes, offsets: Indices, shape: tuple[int, int]) -> Bytes:
    """[num_runs, run_bytes]: runs at equal distances."""
    distance = int(offsets[1] - offsets[0]) if len(offsets) > 1 else 0
    return np.lib.stride_tricks.as_strided(pool[int(offsets[0]) :], shape, (distance, 1))


def _copy_runs(source: Bytes, destination: Bytes, digest: xxhash.xxh3_64) -> Iterator[int]:
    """Copy, then hash what the copy has just read: one call copies as many runs as fit into a slice.

    Yields after each call how many bytes it copied.
    """
    num_runs, run_bytes = source.shape
    step = max(1, SLICE_BYTES // run_bytes)
    for run in range(0, num_runs, step):
        for offset in range(0, run_bytes, SLICE_BYTES):
            box = slice(run, run + step), slice(offset, offset + SLICE_BYTES)
            destination[box] = source[box]
            for piece in source[box]:
                digest.update(piece.data)
            yield source[box].size


def _copy_rows(source: Bytes, destination: Bytes, source_rows: Rows, destination_rows: Rows) -> Sliced[int]:
    digest = xxhash.xxh3_64()
    to_rows = destination.reshape(-1, source_rows.row_bytes)
    for first, staged in _gathered(source, source_rows):
        digest.update(staged.data)
        to_rows[destination_rows.index[first : first + len(staged)]] = staged
        if _ends_slice(first, source_rows):
            yield
    return digest.intdigest()


def hash_rows(pool: Bytes, rows: Rows) -> Sliced[int]:
    """Checksum of a part where it lies."""
    digest = xxhash.xxh3_64()
    offsets, lengths = rows.runs()
    if lengths.mean() < LONG_RUN_BYTES:
        for first, staged in _gathered(pool, rows):
            digest.update(staged.data)
            if _ends_slice(first, rows):
                yield
        return digest.intdigest()
    num_bytes = 0
    for begin, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
        for offset in range(begin, begin + length, SLICE_BYTES):
            piece = pool[offset : min(offset + SLICE_BYTES, begin + length)]
            digest.update(piece.data)
            num_bytes += len(piece)
            if num_bytes >= 2 * SLICE_BYTES:  # reading alone is more than twice as fast
                num_bytes = 0
                yield
    return digest.intdigest()


def gather_and_hash(pool: Bytes, rows: Rows, out: Bytes) -> Sliced[int]:
    """Copy a part into `out`, in canonical order; returns its checksum."""
    digest = xxhash.xxh3_64()
    from_rows, to_rows = pool.reshape(-1, rows.row_bytes), out.reshape(-1, rows.row_bytes)
    step = _rows_per_piece(rows)
    for first in range(0, len(rows.index), step):
        piece = to_rows[first : first + step]
        np.take(from_rows, rows.index[first : first + step], axis=0, out=piece, mode="clip")
        digest.update(piece.data)
        if _ends_slice(first, rows):
            yield
    return digest.intdigest()


def check_and_scatter(data: Bytes, checksum: int, pool: Bytes, rows: Rows, is_live: Callable[[], bool]) -> Sliced[int]:
    """Copy a payload to its rows if its checksum is right, for as long as it is wanted; returns its checksum."""
    digest = xxhash.xxh3_64()
    for begin in range(0, len(data), SLICE_BYTES):
        digest.update(data[begin : begin + SLICE_BYTES].data)
        yield
    found = digest.intdigest()
    if found != checksum:
        return found
    from_rows, to_rows = data.reshape(-1, rows.row_bytes), pool.reshape(-1, rows.row_bytes)
    step = _rows_per_piece(rows)
    for first in range(0, len(rows.index), step):
        if not is_live():
            break
        to_rows[rows.index[first : first + step]] = from_rows[first : first + step]
        if _ends_slice(first, rows):
            yield
    return found


def _gathered(pool: Bytes, rows: Rows) -> Generator[tuple[int, Bytes], None, None]:
    """(index of its first row, rows gathered in cache), piece by piece; each is overwritten by the next."""
    from_rows = pool.reshape(-1, rows.row_bytes)
    step = _rows_per_piece(rows)
    staging = _scratch(step * rows.row_bytes).reshape(step, rows.row_bytes)
    for first in range(0, len(rows.index), step):
        index = rows.index[first : first + step]
        yield first, np.take(from_rows, index, axis=0, out=staging[: len(index)], mode="clip")


@lru_cache(maxsize=8)  # sizes differ with the shape of the rows alone
def _scratch(num_bytes: int) -> Bytes:
    """Shared by all work of the event loop, which never yields between filling it and using what it holds: fresh pages
    would cost as much as the copy."""
    return page_aligned(num_bytes)


def _rows_per_piece(rows: Rows) -> int:
    return max(1, PIECE_BYTES // rows.row_bytes)


def _ends_slice(first: int, rows: Rows) -> bool:
    """Whether the piece that begins with row `first` completes a slice."""
    num_pieces = first // _rows_per_piece(rows) + 1
    return num_pieces % (SLICE_BYTES // PIECE_BYTES) == 0
