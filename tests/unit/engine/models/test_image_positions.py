"""Places of tokens for M-RoPE."""

from collections.abc import Sequence

import numpy as np
import pytest

from penstock.core.image_size import count_tokens
from penstock.core.images import ImageSpan
from penstock.engine.models.image_positions import rope_positions, shift_after


def image(start: int, height: int, width: int, frames: int = 1) -> ImageSpan:
    grid = (frames, 2 * height, 2 * width)
    return ImageSpan(start, count_tokens(grid, 2), b"", grid)


TWO = (image(2, 2, 3), image(10, 3, 1))  # tokens [2, 8) and [10, 13)


def test_text_goes_on_behind_the_longer_side_of_each_image() -> None:
    assert rope_positions(TWO, 2, 0, 15).tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7, 7, 7, 10, 11],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7, 8, 9, 10, 11],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7, 7, 7, 10, 11],
    ]
    assert shift_after(TWO, 2) == 10 - 13


def test_frames_are_steps_in_time() -> None:
    assert rope_positions((image(1, 1, 2, frames=3),), 2, 1, 8).tolist() == [
        [1, 1, 2, 2, 3, 3, 3],
        [1, 1, 1, 1, 1, 1, 3],
        [1, 2, 1, 2, 1, 2, 3],
    ]


@pytest.mark.parametrize(
    "images",
    [(), TWO, (image(0, 4, 1), image(4, 1, 1), image(5, 2, 2)), (image(14, 1, 9),)],
    ids=["none", "two", "side by side", "last"],
)
def test_every_chunk_is_a_part_of_the_whole(images: Sequence[ImageSpan]) -> None:
    whole = rope_positions(images, 2, 0, 30)
    for start in range(30):
        for end in range(start + 1, 31):
            np.testing.assert_array_equal(rope_positions(images, 2, start, end), whole[:, start:end])
    assert whole[:, 29].tolist() == [29 + shift_after(images, 2)] * 3
