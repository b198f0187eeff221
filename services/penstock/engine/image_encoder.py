"""What makes embeddings of images: the seam between the encoder's service and a vision tower (torch) or a mock.

Life of a request: encode (step 3) computes here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.core.image_size import Grid
from penstock.engine.options import EngineOptions
from penstock.transfer.memory import Bytes


@dataclass(frozen=True, slots=True)
class VisionInfo:
    """What others must know of embeddings before they take them."""

    hidden_size: int  # elements of one embedding
    element_bytes: int
    dtype: str
    revision: str  # of weights and type, as ModelInfo's of the same folder: equal revisions fit together
    settings_hash: bytes  # of what decides how an image is prepared


@dataclass(frozen=True, slots=True)
class EncodeInput:
    """One image: a file that was checked, and the grid it is resized to, by which its tokens were counted."""

    file: bytes
    grid: Grid


class ImageEncoder(Protocol):
    """Encodes batches of images, one batch at a time."""

    @property
    def info(self) -> VisionInfo:
        """The embeddings that come out."""
        ...

    async def encode(self, images: Sequence[EncodeInput]) -> list[Bytes]:
        """Of each image, [num_tokens, hidden_size * element_bytes]. Raises UnreadableImage."""
        ...

    def close(self) -> None:
        """Stop threads and free the weights."""
        ...


BuildImageEncoder = Callable[[EngineOptions], ImageEncoder]
"""What an engine module offers as `build_image_encoder`."""
