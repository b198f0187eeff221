"""What makes embeddings of images: the seam between the encoder service and a vision tower."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.transfer.memory import Bytes


@dataclass(frozen=True, slots=True)
class VisionInfo:
    """The embeddings it makes: as many elements as the language model's hidden states have, in its dtype."""

    hidden_size: int
    element_bytes: int
    dtype: str


@dataclass(frozen=True, slots=True)
class EncodeInput:
    """One image file, and the patches it is cut into: in time, high, wide."""

    file: bytes
    grid: tuple[int, int, int]


class ImageEncoder(Protocol):
    """Computes batches, one at a time, beside the event loop."""

    @property
    def info(self) -> VisionInfo: ...

    async def encode(self, images: Sequence[EncodeInput]) -> list[Bytes]:
        """Of each image its embeddings [num_tokens, hidden_size * element_bytes]. Raises UnreadableImage."""
        ...

    def close(self) -> None:
        """Stop threads and free the weights."""
        ...
