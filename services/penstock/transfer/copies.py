"""Moving and hashing the bytes of a part, fast and off the event loop.

A piece is hashed while it is in the core's cache and copied from there, so a checksum costs little over the copy.
numpy and xxhash release the GIL on pieces of this size.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import numpy as np
import xxhash

from penstock.transfer.layout import Rows, paired_runs
from penstock.transfer.memory import Bytes

PIECE_BYTES = 1 << 20  # fits the second-level cache of a core, and long enough that other threads get the GIL
LONG_RUN_BYTES = 96 << 10  # from here on a run at a time beats gathering many
INLINE_BYTES = 64 << 20  # moved in little more time than a thread takes to wake

P = ParamSpec("P")
T = TypeVar("T")


class CopyThreads:
    """A few threads for large copies and checksums. Cancelling a caller waits for its copy: memory is never torn."""

    def __init__(self, num_threads: int) -> None:
        self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="kv-copy")

    async def run(self, num_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` on about `num_bytes`: at once if that is little, else on a thread."""
        if num_bytes <= INLINE_BYTES:
            return work(*args, **kwargs)
        future = asyncio.wrap_future(self._executor.submit(work, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                await _settled(future)
            raise

    def close(self) -> None:
        self._executor.shutdown(wait=True)


async def _settled(future: "asyncio.Future[T]") -> None:
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        return  # the caller is being cancelled already; what counts is that the copy ends


def copy_and_hash(source: Bytes, destination: Bytes, source_rows: Rows, destination_rows: Rows) -> int:
    """Copy a part from pool to pool; returns its checksum as read from the source."""
    digest = xxhash.xxh3_64()
    source_offsets, destination_offsets, lengths = paired_runs(source_rows, destination_rows)
    if lengths.mean() < LONG_RUN_BYTES:
        return _copy_rows(source, destination, source_rows, destination_rows)
    for begin, target, length in zip(
        source_offsets.tolist(), destination_offsets.tolist(), lengths.tolist(), strict=True
    ):
        for offset in range(0, length, PIECE_BYTES):
            size = min(PIECE_BYTES, length - offset)
            piece = source[begin + offset : begin + offset + size]
            digest.update(piece.data)
            destination[target + offset : target + offset + size] = piece
    return digest.intdigest()


def _copy_rows(source: Bytes, destination: Bytes, source_rows: Rows, destination_rows: Rows) -> int:
    digest = xxhash.xxh3_64()
    row_bytes = source_rows.row_bytes
    from_rows, to_rows = source.reshape(-1, row_bytes), destination.reshape(-1, row_bytes)
    for begin, staged in _staged(from_rows, source_rows):
        digest.update(staged.data)
        to_rows[destination_rows.index[begin : begin + len(staged)]] = staged
    return digest.intdigest()


def _staged(from_rows: Bytes, rows: Rows) -> Iterator[tuple[int, Bytes]]:
    """(index of its first row, rows gathered in cache), piece by piece; each is overwritten by the next."""
    step = max(1, PIECE_BYTES // rows.row_bytes)
    staging = np.empty((step, rows.row_bytes), np.uint8)
    for begin in range(0, len(rows.index), step):
        index = rows.index[begin : begin + step]
        yield begin, np.take(from_rows, index, axis=0, out=staging[: len(index)], mode="clip")


def hash_rows(pool: Bytes, rows: Rows) -> int:
    """Checksum of a part where it lies."""
    digest = xxhash.xxh3_64()
    offsets, lengths = rows.runs()
    if lengths.mean() < LONG_RUN_BYTES:
        for _, staged in _staged(pool.reshape(-1, rows.row_bytes), rows):
            digest.update(staged.data)
        return digest.intdigest()
    for begin, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
        digest.update(pool[begin : begin + length].data)
    return digest.intdigest()


def gather_and_hash(pool: Bytes, rows: Rows, out: Bytes) -> int:
    """Copy a part into `out`, in canonical order; returns its checksum."""
    digest = xxhash.xxh3_64()
    from_rows, to_rows = pool.reshape(-1, rows.row_bytes), out.reshape(-1, rows.row_bytes)
    step = max(1, PIECE_BYTES // rows.row_bytes)
    for begin in range(0, len(rows.index), step):
        piece = to_rows[begin : begin + step]
        np.take(from_rows, rows.index[begin : begin + step], axis=0, out=piece, mode="clip")
        digest.update(piece.data)
    return digest.intdigest()


def scatter(data: Bytes, pool: Bytes, rows: Rows) -> None:
    """The reverse of a gather."""
    pool.reshape(-1, rows.row_bytes)[rows.index] = data.reshape(-1, rows.row_bytes)
