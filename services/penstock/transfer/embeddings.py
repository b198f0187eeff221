"""The pool of embeddings beside a KV pool: the encoder's rows, in pages, laid out so that they are moved as KV is.

An embedding's bytes are cut in two: the first half lies where the K of its slot would, the second where the V would.

    row of an image   [ first half | second half ]        token k of an image is in block block_ids[k // block_size]
    pool of bytes     [K and V, num_slots, half]
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from penstock.core.embeddings import PAGE_TOKENS
from penstock.core.kv_layout import embedding_layout
from penstock.transfer.copies import SLICE_BYTES, Sliced
from penstock.transfer.memory import Bytes, KvMemory, allocate_kv_memory

Ints = npt.NDArray[np.int64]


def allocate_embeddings(num_tokens: int, hidden_size: int, element_bytes: int, dtype: str) -> KvMemory:
    """A pool of whole pages for so many embeddings."""
    return allocate_kv_memory(
        embedding_layout(hidden_size, PAGE_TOKENS, num_tokens // PAGE_TOKENS, element_bytes, dtype)
    )


def pool_rows(block_ids: Sequence[int], first: int, last: int) -> Ints:
    """Of the tokens [first, last) of an image in these blocks."""
    tokens = np.arange(first, last)
    return np.asarray(block_ids, np.int64)[tokens // PAGE_TOKENS] * PAGE_TOKENS + tokens % PAGE_TOKENS


def halves_of(memory: KvMemory) -> Bytes:
    """[2, num_slots, half of an embedding's bytes], a view."""
    return memory.pool.reshape(2, -1, memory.layout.slot_bytes)


def write_embeddings(memory: KvMemory, block_ids: Sequence[int], embeddings: Bytes) -> None:
    """embeddings: [num_tokens, bytes of one]."""
    halves = halves_of(memory)
    rows = pool_rows(block_ids, 0, len(embeddings))
    halves[:, rows] = embeddings.reshape(len(embeddings), 2, -1).swapaxes(0, 1)


def write_in_slices(
    memory: KvMemory, block_ids: Sequence[int], embeddings: Bytes, is_live: Callable[[], bool] = lambda: True
) -> Sliced[None]:
    """The same without holding the event loop for long, for as long as it is wanted."""
    page_bytes = memory.layout.token_bytes * PAGE_TOKENS
    num_tokens = max(1, SLICE_BYTES // page_bytes) * PAGE_TOKENS
    for first in range(0, len(embeddings), num_tokens):
        if not is_live():
            return
        write_embeddings(memory, block_ids[first // PAGE_TOKENS :], embeddings[first : first + num_tokens])
        yield


def read_embeddings(memory: KvMemory, block_ids: Sequence[int], num_tokens: int) -> Bytes:
    """[num_tokens, bytes of one], as they were written."""
    halves = halves_of(memory)[:, pool_rows(block_ids, 0, num_tokens)]
    return np.ascontiguousarray(halves.swapaxes(0, 1)).reshape(num_tokens, -1)
