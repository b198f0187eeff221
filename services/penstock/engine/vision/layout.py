"""In which order the patches of a batch of images run through a vision tower, and which of them attend to each other.

All images are one flattened run. Patches come in units of merge_size x merge_size neighbours, which become one
embedding. The units are sorted so that windows of equal size lie side by side: attention within them is one call for
each size, and nothing is padded.

    images     A 5 x 3 units, B 2 x 2      windows of 4 x 4 units: A's of 12 and 3, B's of 4
    running    | A A A | B B B B | A A A A A A A A A A A A |
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.core.image_size import Grid

Ints = npt.NDArray[np.int64]
Groups = tuple[tuple[int, int], ...]
"""(how many, patches of each): runs of patches that attend among themselves, one after the other."""


@dataclass(frozen=True, slots=True)
class TowerLayout:
    """Of one batch. `order[i]` is the place among the flattened images of what runs at place i."""

    order: Ints  # [num_units]
    coordinates: Ints  # [num_patches, row and column], in running order
    windows: Groups  # in running order
    frames: Groups  # in the order of `frame_patches`
    frame_patches: Ints | None  # [num_patches] running places, frame after frame; None: there is one frame only


def lay_out(grids: Sequence[Grid], merge_size: int, window_units: int) -> TowerLayout:
    """window_units: side of a window, in units."""
    rows, columns, frames, windows = _units(grids, merge_size, window_units)
    window_order, window_groups = _by_size(windows, merge_size)
    frame_order, frame_groups = _by_size(frames, merge_size)
    frame_patches = None
    if sum(count for count, _ in frame_groups) > 1:
        running_place = np.argsort(window_order)
        frame_patches = _patches_of(running_place[frame_order], merge_size)
    corners = np.stack((rows, columns), axis=-1)[window_order] * merge_size  # [num_units, 2]
    within = np.indices((merge_size, merge_size)).reshape(2, -1).T  # [merge_size**2, 2]
    coordinates = (corners[:, None] + within).reshape(-1, 2)
    return TowerLayout(window_order, coordinates, window_groups, frame_groups, frame_patches)


def _units(grids: Sequence[Grid], merge_size: int, window_units: int) -> Ints:
    """[4, num_units]: of each unit its row, its column, and the numbers of its frame and its window among all."""
    units = []
    num_frames = num_windows = 0
    for frames, height, width in grids:
        num_rows, num_columns = height // merge_size, width // merge_size
        frame, row, column = np.indices((frames, num_rows, num_columns)).reshape(3, -1)
        high, wide = -(-num_rows // window_units), -(-num_columns // window_units)
        window = (frame * high + row // window_units) * wide + column // window_units
        units.append(np.stack((row, column, frame + num_frames, window + num_windows)))
        num_frames += frames
        num_windows += frames * high * wide
    return np.concatenate(units, axis=1)


def _by_size(segments: Ints, merge_size: int) -> tuple[Ints, Groups]:
    """segments: of each unit, the number of the one it is in. Returns the units by size of their segment."""
    num_units = np.bincount(segments)
    order = np.lexsort((segments, num_units[segments]))
    sizes, counts = np.unique(num_units, return_counts=True)
    return order, tuple((int(count), int(size) * merge_size**2) for size, count in zip(sizes, counts, strict=True))


def _patches_of(units: Ints, merge_size: int) -> Ints:
    per_unit = merge_size**2
    return (units[:, None] * per_unit + np.arange(per_unit)).reshape(-1)
