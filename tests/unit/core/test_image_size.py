"""Sizes of images in pixels, patches and tokens."""

import pytest

from penstock.core.image_size import count_tokens, grid_of, smart_resize

MIN_PIXELS, MAX_PIXELS = 56 * 56, 28 * 28 * 1280


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((640, 480), (644, 476)),  # to the nearest multiple
        ((28, 112), (28, 112)),  # as it is
        ((42, 70), (56, 56)),  # halves go to the even multiple
        ((1, 1), (56, 56)),
        ((3, 500), (28, 728)),
        ((4000, 3000), (1148, 840)),
        ((200, 40000), (56, 14140)),
        ((10000, 10000), (980, 980)),
    ],
)
def test_an_image_is_resized_to_multiples_of_the_factor_within_the_bounds(
    size: tuple[int, int], resized: tuple[int, int]
) -> None:
    assert smart_resize(*size, 28, MIN_PIXELS, MAX_PIXELS) == resized


@pytest.mark.parametrize("size", [(1, 201), (20101, 100)])
def test_an_image_that_is_too_thin_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]}"):
        smart_resize(*size, 28, MIN_PIXELS, MAX_PIXELS)


def test_tokens_are_merged_patches() -> None:
    grid = grid_of(644, 476, 14)
    assert grid == (1, 34, 46)
    assert count_tokens(grid, 2) == 17 * 23
    assert count_tokens((3, 4, 6), 2) == 3 * 2 * 3
