"""How a batch of images is laid out for a vision tower, against windows found one patch at a time."""

from collections import defaultdict

import numpy as np
import pytest

from penstock.core.image_size import Grid
from penstock.engine.vision.layout import Groups, TowerLayout, lay_out

MERGE, WINDOW = 2, 4
BATCHES: dict[str, list[Grid]] = {
    "whole windows": [(1, 16, 8)],
    "cut windows": [(1, 10, 22)],
    "one unit": [(1, 2, 2)],
    "several": [(1, 10, 6), (1, 4, 4), (1, 26, 18), (1, 4, 4)],
    "frames": [(3, 6, 10), (1, 6, 10)],
}
Patch = tuple[int, int, int, int]
"""Image, frame, row, column."""


def patches_as_given(grids: list[Grid]) -> list[Patch]:
    """Unit by unit, as the preprocessor cuts them."""
    return [
        (image, frame, row + high, column + wide)
        for image, (frames, height, width) in enumerate(grids)
        for frame in range(frames)
        for row in range(0, height, MERGE)
        for column in range(0, width, MERGE)
        for high in range(MERGE)
        for wide in range(MERGE)
    ]


def as_run(grids: list[Grid], layout: TowerLayout) -> list[Patch]:
    patches = patches_as_given(grids)
    per_unit = MERGE**2
    return [patches[unit * per_unit + i] for unit in layout.order for i in range(per_unit)]


def segments(patches: list[Patch], groups: Groups) -> list[set[Patch]]:
    lengths = [length for count, length in groups for _ in range(count)]
    assert sum(lengths) == len(patches)
    ends = np.cumsum(lengths)
    return [set(patches[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def expected_segments(grids: list[Grid], side: int) -> list[set[Patch]]:
    """Patches that share a square of `side` patches."""
    found: dict[object, set[Patch]] = defaultdict(set)
    for image, frame, row, column in patches_as_given(grids):
        found[image, frame, row // side, column // side].add((image, frame, row, column))
    return list(found.values())


@pytest.fixture(params=BATCHES)
def grids(request: pytest.FixtureRequest) -> list[Grid]:
    return BATCHES[request.param]


def test_windows_and_frames_hold_the_patches_they_should(grids: list[Grid]) -> None:
    layout = lay_out(grids, MERGE, WINDOW)
    running = as_run(grids, layout)
    in_frames = running if layout.frame_patches is None else [running[i] for i in layout.frame_patches]
    for found, side in (
        (segments(running, layout.windows), MERGE * WINDOW),
        (segments(in_frames, layout.frames), 10**6),
    ):
        expected = expected_segments(grids, side)
        assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


def test_segments_of_one_size_are_one_group(grids: list[Grid]) -> None:
    layout = lay_out(grids, MERGE, WINDOW)
    for groups in (layout.windows, layout.frames):
        lengths = [length for _, length in groups]
        assert lengths == sorted(set(lengths))


def test_coordinates_are_those_of_each_patch_in_its_image(grids: list[Grid]) -> None:
    layout = lay_out(grids, MERGE, WINDOW)
    assert layout.coordinates.tolist() == [[row, column] for *_, row, column in as_run(grids, layout)]
