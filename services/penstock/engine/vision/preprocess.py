"""From an image file to the numbers a vision tower reads: RGB, resized, normalised, cut into patches.

The size was decided by whoever counted the image's tokens; it arrives as the grid. Settings are the model folder's
preprocessor_config.json, or the `image_processor` in the processor_config.json of transformers 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from penstock.core.errors import UnreadableImage, UnsupportedModel
from penstock.core.image_size import Grid
from penstock.engine.options import read_json
from penstock.engine.vision.config import VisionConfig
from penstock.runtime.images import to_rgb

Floats = npt.NDArray[np.float32]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SWITCHES = ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb")
HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Normalisation:
    """A pixel of 0 to 255 becomes (pixel * scale - mean) / std of its channel."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def table(self) -> Floats:
        """[channels, 256]: what each pixel becomes."""
        scaled = np.arange(256) * self.scale
        mean, std = np.array(self.mean)[:, None], np.array(self.std)[:, None]
        return np.asarray((scaled - mean) / std, np.float32)


def read_normalisation(folder: Path) -> Normalisation:
    """From a model folder; raises UnsupportedModel for what is asked and not done."""
    raw = _image_processor(folder)
    if off := [key for key in SWITCHES if raw.get(key, True) is not True]:
        raise UnsupportedModel(f"The image processor in {folder} leaves out {', '.join(off)}; that is not supported.")
    if (resample := raw.get("resample", Image.Resampling.BICUBIC)) != Image.Resampling.BICUBIC:
        raise UnsupportedModel(f"The image processor in {folder} has resample={resample}; only bicubic (3) is known.")
    return Normalisation(
        scale=float(raw.get("rescale_factor", 1 / 255)),
        mean=tuple(raw.get("image_mean") or CLIP_MEAN),
        std=tuple(raw.get("image_std") or CLIP_STD),
    )


def _image_processor(folder: Path) -> Mapping[str, Any]:
    if (folder / "preprocessor_config.json").exists():
        return read_json(folder / "preprocessor_config.json")
    nested = read_json(folder / "processor_config.json").get("image_processor")
    if not isinstance(nested, Mapping):
        raise UnsupportedModel(f"{folder}/processor_config.json has no image_processor.")
    return nested


class Preprocessor:
    """Prepares images for one tower."""

    def __init__(self, config: VisionConfig, normalisation: Normalisation) -> None:
        self._config = config
        self._table = normalisation.table()
        self.settings_hash = blake2b(repr((config, normalisation)).encode(), digest_size=HASH_BYTES).digest()

    def patches(self, file: bytes, grid: Grid) -> Floats:
        """[num_patches, patch_elements]: units of merge_size x merge_size neighbours, rows of units after each other.

        Raises UnreadableImage.
        """
        config, (frames, rows, columns) = self._config, grid
        if frames != 1 or min(rows, columns) < 1 or rows % config.merge_size or columns % config.merge_size:
            raise UnreadableImage(f"A grid of {grid} patches is not that of an image for this model.")
        size = (columns * config.patch_size, rows * config.patch_size)
        image = to_rgb(file).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image)  # [height, width, channels] uint8
        normalised = np.stack([self._table[channel][pixels[..., channel]] for channel in range(config.num_channels)])
        return self._cut(normalised, rows, columns)

    def _cut(self, normalised: Floats, rows: int, columns: int) -> Floats:
        """normalised: [channels, height, width]."""
        config = self._config
        merge, side, channels = config.merge_size, config.patch_size, config.num_channels
        cut = normalised.reshape(channels, rows // merge, merge, side, columns // merge, merge, side)
        patches = cut.transpose(1, 4, 2, 5, 0, 3, 6).reshape(rows * columns, channels, 1, side * side)
        # a still image is the same frame, patch_frames times
        repeated = np.broadcast_to(patches, (rows * columns, channels, config.patch_frames, side * side))
        return repeated.reshape(rows * columns, config.patch_elements)

    def batch(self, images: Sequence[tuple[bytes, Grid]]) -> Floats:
        """The patches of several images, one after the other."""
        return np.concatenate([self.patches(file, grid) for file, grid in images])
