"""An encoder without a vision tower: it sleeps by a cost model and makes embeddings that follow from the file alone.

`mock_runner` draws its tokens from these embeddings as it finds them in its pool, so a lost, misplaced or corrupted
one turns out as a wrong token.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from penstock.core.encode_cost import EncodeCost
from penstock.core.errors import UnsupportedModel
from penstock.core.image_size import count_tokens
from penstock.engine.image_encoder import EncodeInput, VisionInfo
from penstock.engine.mock_costs import MockCosts
from penstock.engine.models.language_part import language_part
from penstock.engine.options import EngineOptions, read_json
from penstock.transfer.embeddings import allocate_embeddings
from penstock.transfer.memory import Bytes, KvMemory

DTYPE, ELEMENT_BYTES = "bfloat16", 2  # as large as a real model's: moving them costs what it would
MULTIPLIER = np.uint64(6364136223846793005)


def build_image_encoder(options: EngineOptions) -> "MockImageEncoder":
    """A mock of the vision tower in a folder: the size of its embeddings, nothing of its weights."""
    config = language_part(read_json(options.folder / "config.json"))
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        raise UnsupportedModel(f"{options.folder}/config.json has no vision_config.")
    info = VisionInfo(_hidden_size(config), ELEMENT_BYTES, DTYPE, "mock", blake2b(b"mock", digest_size=16).digest())
    cost = MockCosts.parse(options.mock_costs).encode
    return MockImageEncoder(info, int(vision.get("spatial_merge_size", 2)), cost)


def mock_embeddings_pool(config: Mapping[str, Any], num_tokens: int) -> KvMemory | None:
    """What the embeddings of a mock lie in; None for a model without images. config: as `language_part` returns it."""
    if "vision_config" not in config:
        return None
    return allocate_embeddings(num_tokens, _hidden_size(config), ELEMENT_BYTES, DTYPE)


def mock_embeddings(file: bytes, num_tokens: int, num_bytes: int) -> Bytes:
    """[num_tokens, num_bytes]: a word per token, over and over in the first half, and its complement in the second."""
    seed = np.frombuffer(blake2b(file, digest_size=8).digest(), np.uint64)
    words = (seed + np.arange(num_tokens, dtype=np.uint64)) * MULTIPLIER
    half = num_bytes // 2
    first = np.tile(words.view(np.uint8).reshape(num_tokens, 8), -(-half // 8))[:, :half]
    return np.concatenate((first, ~first), axis=1)


class MockImageEncoder:
    """Implements ImageEncoder."""

    def __init__(
        self,
        info: VisionInfo,
        merge_size: int,
        cost: EncodeCost,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._info = info
        self._merge_size = merge_size
        self._cost = cost
        self._sleep = sleep
        self._is_free = asyncio.Lock()

    @property
    def info(self) -> VisionInfo:
        return self._info

    async def encode(self, images: Sequence[EncodeInput]) -> list[Bytes]:
        num_patches = sum(frames * height * width for frames, height, width in (image.grid for image in images))
        async with self._is_free:
            await self._sleep(self._cost.seconds(num_patches))
        num_bytes = self._info.hidden_size * self._info.element_bytes
        return [mock_embeddings(i.file, count_tokens(i.grid, self._merge_size), num_bytes) for i in images]

    def close(self) -> None:
        """There is nothing to free."""


def _hidden_size(config: Mapping[str, Any]) -> int:
    size = config.get("hidden_size")
    if not isinstance(size, int) or size < 8 or size % 2:
        raise UnsupportedModel(f"config.json has hidden_size={size!r}; an even number of at least 8 is needed.")
    return size
