"""Where the tokens of a prompt with images stand for M-RoPE: in time, in rows and in columns.

    tokens    a  b [ image of 2 x 3 ]  c  d
    time      0  1  2  2  2  2  2  2   5  6
    row       0  1  2  2  2  3  3  3   5  6
    column    0  1  2  3  4  2  3  4   5  6

An image begins where the text before it ends and takes up as many positions as its longer side has tokens. What follows
stands before its index in the sequence, all tokens after the last image by the same number of positions; here by 3.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penstock.core.images import ImageSpan

Ints = npt.NDArray[np.int64]


def shift_after(images: Sequence[ImageSpan], merge_size: int) -> int:
    """What is added to the index of a token behind all these images; at most 0 for stills."""
    return sum(_num_positions(image, merge_size) - image.num_tokens for image in images)


def rope_positions(images: Sequence[ImageSpan], merge_size: int, start: int, end: int) -> Ints:
    """[3, end - start] of the tokens [start, end) of a sequence with these images."""
    positions = np.tile(np.arange(start, end), (3, 1))
    shift = 0
    for image in images:
        if image.start >= end:
            break
        first, last = max(image.start, start), min(image.end, end)
        if first < last:
            places = _places(image, merge_size)[:, first - image.start : last - image.start]
            positions[:, first - start : last - start] = image.start + shift + places
        added = _num_positions(image, merge_size) - image.num_tokens
        shift += added
        positions[:, max(image.end - start, 0) :] += added
    return positions


def _num_positions(image: ImageSpan, merge_size: int) -> int:
    _, height, width = image.grid
    return max(height, width) // merge_size


def _places(image: ImageSpan, merge_size: int) -> Ints:
    """[3, num_tokens] within the image."""
    frames, height, width = image.grid
    return np.indices((frames, height // merge_size, width // merge_size)).reshape(3, -1)
