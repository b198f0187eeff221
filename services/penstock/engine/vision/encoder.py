"""Encodes images with a vision tower: prepared and run in a thread of its own, one batch at a time."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from penstock.core.image_size import count_tokens
from penstock.engine.checkpoint import Checkpoint
from penstock.engine.image_encoder import EncodeInput, VisionInfo
from penstock.engine.options import EngineOptions
from penstock.engine.placement import device_named, dtype_name, dtype_named
from penstock.engine.vision.config import parse_vision_config
from penstock.engine.vision.preprocess import Preprocessor, read_normalisation
from penstock.engine.vision.tower import VisionTower
from penstock.engine.vision.weights import load_tower
from penstock.transfer.memory import Bytes


def build_image_encoder(options: EngineOptions) -> "TowerEncoder":
    """Load the vision tower of the model in a folder, in the thread that will run it, and nothing else of the model."""
    executor = ThreadPoolExecutor(1, "image-encoder")
    try:
        return executor.submit(_load, options, executor).result()
    except BaseException:
        executor.shutdown()
        raise


def _load(options: EngineOptions, executor: ThreadPoolExecutor) -> "TowerEncoder":
    checkpoint = Checkpoint(options.folder)
    config = parse_vision_config(checkpoint.raw)
    preprocessor = Preprocessor(config, read_normalisation(options.folder))
    device, dtype = device_named(options.device), dtype_named(options.dtype, config.dtype)
    tower = load_tower(checkpoint, config, dtype, device)
    info = VisionInfo(
        hidden_size=config.embedding_size,
        element_bytes=dtype.itemsize,
        dtype=dtype_name(dtype),
        revision=f"{checkpoint.revision()}-{dtype_name(dtype)}",
        settings_hash=preprocessor.settings_hash,
    )
    return TowerEncoder(info, preprocessor, tower, executor)


class TowerEncoder:
    """Implements ImageEncoder."""

    def __init__(
        self, info: VisionInfo, preprocessor: Preprocessor, tower: VisionTower, executor: ThreadPoolExecutor
    ) -> None:
        self._info = info
        self._preprocessor = preprocessor
        self._tower: VisionTower | None = tower
        self._executor = executor

    @property
    def info(self) -> VisionInfo:
        return self._info

    async def encode(self, images: Sequence[EncodeInput]) -> list[Bytes]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, images)

    def close(self) -> None:
        self._executor.shutdown()
        self._tower = None

    def _encode(self, images: Sequence[EncodeInput]) -> list[Bytes]:
        tower = self._tower
        assert tower is not None, "closed"
        grids = [image.grid for image in images]
        patches = torch.from_numpy(self._preprocessor.batch([(image.file, image.grid) for image in images]))
        embeddings = tower.run(patches, grids).cpu().view(torch.uint8)
        num_tokens = [count_tokens(grid, tower.config.merge_size) for grid in grids]
        # a copy of each: who keeps one image must not hold the memory of all
        return [of_image.clone().numpy() for of_image in embeddings.split(num_tokens)]
