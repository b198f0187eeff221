"""Embeddings of images on the worker that prefills: pages of a pool, promised, filled, shared and given back.

                 cached, or computed already with the prefix ------------------------------.
    accepted --> wanted: pages are promised --(encoded and delivered)--> arrived           |
                                                  |                         |              v
                                                  '--- the sequence leaves this worker: pages are free, or stay cached

Pages are blocks of a `BlockPool`; an image's are known by its content hash, all of them or none. While somebody writes
to them they are lent: should the sequence leave meanwhile, they are free only when they have been given back.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.blocks import HASH_BYTES, BlockPool
from penstock.core.errors import BlocksExhausted, UnsupportedModel
from penstock.core.images import ImageSpan
from penstock.core.types import NO_LIMIT, Sequence

PAGE_TOKENS = 16


@dataclass(slots=True, eq=False)
class Loan:
    """Pages of one image that one writer may write to."""

    sequence: Sequence
    index: int
    pages: list[int]
    on_recall: Callable[[], None]  # told once that nobody waits for the image on these pages any more
    is_recalled: bool = False


class EmbeddingBook:
    """Which sequence holds which pages. What a sequence lacks keeps it from running beyond it."""

    def __init__(self, num_pages: int) -> None:
        self.pool = BlockPool(num_pages, PAGE_TOKENS)
        self._loans: dict[tuple[Sequence, int], Loan] = {}  # those whose sequence waits for them
        self._recalled: list[Loan] = []

    @property
    def num_recalled_pages(self) -> int:
        """Pages that nobody waits for, and that somebody may still be writing to."""
        return sum(len(loan.pages) for loan in self._recalled)

    def take(self, sequence: Sequence) -> list[int]:
        """Hold pages for the images of a sequence just accepted; return the places of those that are wanted.

        Raises BlocksExhausted, and takes nothing, when the pool cannot hold them.
        """
        images = sequence.request.images
        sequence.image_block_ids = [[] for _ in images]
        for index, image in enumerate(images):
            if image.end <= sequence.num_cached_tokens:
                sequence.absent_images.add(index)
            elif pages := self._cached(image):
                sequence.image_block_ids[index] = pages
            elif (new_pages := self.pool.allocate(self.pool.num_blocks_for(image.num_tokens))) is not None:
                sequence.image_block_ids[index] = new_pages
                sequence.absent_images.add(index)
            else:
                self.release(sequence)
                raise BlocksExhausted("The worker has no room for the embeddings of the request's images.")
        find_ready_tokens(sequence)
        return wanted_images(sequence)

    def lend(self, sequence: Sequence, index: int, on_recall: Callable[[], None]) -> Loan:
        """The pages of a wanted image, to write to until `give_back`.

        Who had them before may still be writing: it keeps them, and the image gets others. Raises BlocksExhausted
        when there are none.
        """
        if earlier := self._loans.get((sequence, index)):
            pages = self.pool.allocate(len(earlier.pages))
            if pages is None:
                raise BlocksExhausted("The worker has no room for embeddings while others are still being written.")
            sequence.image_block_ids[index] = pages
            self._recall(earlier)
        loan = self._loans[sequence, index] = Loan(sequence, index, sequence.image_block_ids[index], on_recall)
        return loan

    def give_back(self, loan: Loan) -> None:
        """Nothing is written there any more. To be called once."""
        if loan.is_recalled:
            self._recalled.remove(loan)
            self.pool.release(loan.pages)
        else:
            del self._loans[loan.sequence, loan.index]

    def arrived(self, sequence: Sequence, index: int) -> None:
        """The embeddings of an image lie in its pages: the sequence may run on, and others may share them."""
        sequence.absent_images.discard(index)
        find_ready_tokens(sequence)
        image = sequence.request.images[index]
        for page, page_hash in zip(sequence.image_block_ids[index], _page_hashes(image), strict=True):
            self.pool.enter(page, page_hash)
        self.pool.take_changes()  # nobody is told which images are cached where

    def release(self, sequence: Sequence) -> None:
        """Give the pages back, those that are lent when nobody writes to them any more. Idempotent."""
        image_pages, sequence.image_block_ids = sequence.image_block_ids, []
        for index, pages in enumerate(image_pages):
            if loan := self._loans.get((sequence, index)):
                self._recall(loan)
            else:
                self.pool.release(pages)

    def _recall(self, loan: Loan) -> None:
        del self._loans[loan.sequence, loan.index]
        loan.is_recalled = True
        self._recalled.append(loan)
        loan.on_recall()

    def _cached(self, image: ImageSpan) -> list[int]:
        hashes = _page_hashes(image)
        pages = self.pool.take_prefix(hashes, len(hashes) * PAGE_TOKENS)
        if len(pages) < len(hashes):
            self.pool.release(pages)
            return []
        return pages


def hold_images(sequence: Sequence, embeddings: EmbeddingBook | None) -> None:
    """Pages for the images of a sequence just accepted. Raises why there are none."""
    if not sequence.request.images:
        return
    if embeddings is None:
        raise UnsupportedModel("The model of this worker takes no images.")
    embeddings.take(sequence)


def wanted_images(sequence: Sequence) -> list[int]:
    """The images whose embeddings are to be brought to pages that wait for them."""
    return sorted(index for index in sequence.absent_images if sequence.image_block_ids[index])


def is_without_embeddings(sequence: Sequence) -> bool:
    """Whether its prompt cannot be computed here: KV came without them, by transfer or from the prefix cache."""
    return len([pages for pages in sequence.image_block_ids if pages]) < len(sequence.request.images)


def find_ready_tokens(sequence: Sequence) -> None:
    """How far a sequence may run: to its first image that is absent, and not computed already with the prefix."""
    images = sequence.request.images
    needed = [images[index] for index in sequence.absent_images if images[index].end > sequence.num_computed_tokens]
    sequence.num_ready_tokens = min((image.start for image in needed), default=NO_LIMIT)


def _page_hashes(image: ImageSpan) -> list[bytes]:
    num_pages = -(-image.num_tokens // PAGE_TOKENS)
    return [
        hashlib.blake2b(image.content_hash, digest_size=HASH_BYTES, salt=page.to_bytes(4, "little")).digest()
        for page in range(num_pages)
    ]
