"""Embeddings of images on their way to the prompts that wait for them here.

Life of a request: step 3 (encode), as the worker that prefills sees it.
"""

import asyncio
from collections.abc import Callable

from penstock.core.embeddings import PAGE_TOKENS, wanted_images
from penstock.core.errors import TransferFailed, UnknownReservation
from penstock.core.images import ImageSpan
from penstock.core.sequences import SequenceBook
from penstock.core.types import Sequence
from penstock.transfer.embeddings import write_embeddings
from penstock.transfer.memory import Bytes, KvMemory

SLICE_BYTES = 2 << 20  # copied at once: well under a millisecond of the event loop

RequestKey = tuple[str, int]  # (gateway_id, handle)


class ImageIntake:
    """Fills pages of the pool of embeddings; a prompt goes on as soon as its next image is whole."""

    def __init__(self, book: SequenceBook, memory: KvMemory, find: Callable[[RequestKey], Sequence | None]) -> None:
        self._book = book
        self._memory = memory
        self._find = find

    async def deliver(self, key: RequestKey, index: int, image: ImageSpan, rows: Bytes) -> None:
        """Take embeddings made in this process. Raises UnknownReservation when nobody waits for them any more.

        rows: [num_tokens, bytes of one embedding]
        """
        row_bytes = self._memory.layout.token_bytes
        if rows.shape != (image.num_tokens, row_bytes):
            raise TransferFailed(f"An image of {image.num_tokens} tokens has embeddings of shape {rows.shape}.")
        step = max(1, SLICE_BYTES // (row_bytes * PAGE_TOKENS)) * PAGE_TOKENS
        for first in range(0, image.num_tokens, step):
            pages = self._waiting(key, index, image).image_block_ids[index]
            write_embeddings(self._memory, pages[first // PAGE_TOKENS :], rows[first : first + step])
            await asyncio.sleep(0)
        self._book.arrived(self._waiting(key, index, image), index)

    def _waiting(self, key: RequestKey, index: int, image: ImageSpan) -> Sequence:
        """The prompt that waits for the image; it may be cancelled between two slices."""
        sequence = self._find(key)
        if sequence is None or index not in wanted_images(sequence) or sequence.request.images[index] != image:
            raise UnknownReservation("Nobody waits for this image any more.")
        return sequence
