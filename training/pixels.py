"""Pictures as the vision tower takes them: resized to whole tokens, normalised, cut into patches."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

PATCH_SIZE, MERGE_SIZE, TEMPORAL_PATCH_SIZE = 8, 2, 2
FACTOR = PATCH_SIZE * MERGE_SIZE  # pixels: the side of what becomes one token
MIN_PIXELS, MAX_PIXELS = 48 * 48, 112 * 112
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

Patches = npt.NDArray[np.float32]  # [num_patches, 3 * TEMPORAL_PATCH_SIZE * PATCH_SIZE * PATCH_SIZE]
Grid = tuple[int, int]  # patches down and across


def patches_of(picture: Image.Image) -> tuple[Patches, Grid]:
    """As Qwen2VLImageProcessor has them: in groups of MERGE_SIZE by MERGE_SIZE, a still repeated in time."""
    height, width = target_size(picture.height, picture.width)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    pixels = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    rows, columns = height // PATCH_SIZE, width // PATCH_SIZE
    shape = (rows // MERGE_SIZE, MERGE_SIZE, PATCH_SIZE, columns // MERGE_SIZE, MERGE_SIZE, PATCH_SIZE, 3)
    cut = pixels.reshape(shape).transpose(0, 3, 1, 4, 6, 2, 5)  # [.., .., .., .., channel, y, x]
    twice = np.repeat(cut[:, :, :, :, :, None], TEMPORAL_PATCH_SIZE, axis=5)
    return np.ascontiguousarray(twice.reshape(rows * columns, -1)), (rows, columns)


def target_size(height: int, width: int) -> Grid:
    """The nearest height and width in whole tokens, within the bounds of an area; the aspect is kept."""
    high, wide = round(height / FACTOR) * FACTOR, round(width / FACTOR) * FACTOR
    if high * wide > MAX_PIXELS:
        ratio = math.sqrt(height * width / MAX_PIXELS)
        return tuple(max(FACTOR, math.floor(side / ratio / FACTOR) * FACTOR) for side in (height, width))  # type: ignore[return-value]
    if high * wide < MIN_PIXELS:
        ratio = math.sqrt(MIN_PIXELS / (height * width))
        return tuple(math.ceil(side * ratio / FACTOR) * FACTOR for side in (height, width))  # type: ignore[return-value]
    return high, wide
