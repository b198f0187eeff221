"""How large an image is made before it is cut into patches, and how many tokens it then stands for.

The gateway counts an image's tokens by this before any worker sees the image; the encoder resizes by it. So both must
be the same arithmetic, to the pixel:

    file            smart_resize                grid_of            count_tokens
    640 x 480  ->   644 x 476             ->    (1, 34, 46)   ->   17 x 23 = 391      patches of 14, merged 2 x 2
"""

import math

MAX_ASPECT_RATIO = 200  # of the longer side to the shorter; thinner images are refused, as by transformers

Grid = tuple[int, int, int]
"""Patches in time, high, wide."""


def smart_resize(width: int, height: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Width and height, multiples of `factor`, of the nearest shape whose area lies within the bounds.

    Raises ValueError for an image that is too thin.
    """
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ValueError(f"an image of {width} x {height} pixels is longer than {MAX_ASPECT_RATIO} times its width")
    near_width, near_height = round(width / factor) * factor, round(height / factor) * factor
    if near_width * near_height > max_pixels:
        shrink = math.sqrt((width * height) / max_pixels)
        near_width = max(factor, math.floor(width / shrink / factor) * factor)
        near_height = max(factor, math.floor(height / shrink / factor) * factor)
    elif near_width * near_height < min_pixels:
        stretch = math.sqrt(min_pixels / (width * height))
        near_width = math.ceil(width * stretch / factor) * factor
        near_height = math.ceil(height * stretch / factor) * factor
    return near_width, near_height


def grid_of(width: int, height: int, patch_size: int) -> Grid:
    """Patches of a still image whose sides are multiples of `patch_size`."""
    return 1, height // patch_size, width // patch_size


def count_tokens(grid: Grid, merge_size: int) -> int:
    """Embeddings of an image: `merge_size` x `merge_size` neighbouring patches become one."""
    frames, height, width = grid
    return frames * (height // merge_size) * (width // merge_size)
