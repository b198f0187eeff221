"""Images inside a prompt: which tokens they stand for, and what those tokens are called in prefix hashes.

A prompt names an image by as many placeholder tokens as the image has embeddings; all placeholders are one token id:

    tokens    The red [ start ......... end ) is ...            grid = (1, 8, 12) patches, merged by 2 x 2: 24 tokens
    hashed    The red  c0 c1 c2 c3 c0 c1 ...  is ...            c: the content hash, as words of 32 bit

so two prompts share a prefix only as far as their images are the same.
"""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

CONTENT_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """The embeddings of one image take the place of the tokens [start, end) of a prompt."""

    start: int
    num_tokens: int
    content_hash: bytes  # CONTENT_HASH_BYTES of file and processor settings; equal hashes mean equal embeddings
    grid: tuple[int, int, int]  # patches: in time, high, wide; before neighbours are merged into one token

    @property
    def end(self) -> int:
        return self.start + self.num_tokens

    @property
    def num_patches(self) -> int:
        frames, height, width = self.grid
        return frames * height * width


def salted(image: ImageSpan, salt: bytes) -> ImageSpan:
    """The same image by a name that only those with this salt know: tenants cannot find out what others have shown.

    `salt` has at most 64 bytes; without one the name stays.
    """
    if not salt:
        return image
    digest = hashlib.blake2b(image.content_hash, digest_size=CONTENT_HASH_BYTES, key=salt).digest()
    return replace(image, content_hash=digest)


def hashed_token_ids(token_ids: Sequence[int], images: Iterable[ImageSpan]) -> Sequence[int]:
    """What `core.blocks.hash_blocks` is given for a prompt: placeholders replaced by their image's content."""
    hashed: list[int] | None = None
    for image in images:
        hashed = list(token_ids) if hashed is None else hashed
        words = array("I", image.content_hash)
        num_repeats = -(-image.num_tokens // len(words))
        hashed[image.start : image.end] = (words.tolist() * num_repeats)[: image.num_tokens]
    return token_ids if hashed is None else hashed
