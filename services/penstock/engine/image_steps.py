"""Which tokens of a step belong to images: their places in the image, and the embeddings that stand for them.

Only for models that take images: what `step_tensors` builds for text is completed here.
"""

from dataclasses import replace

import numpy as np

from penstock.core.types import Batch, ScheduledSequence
from penstock.engine.models.image_positions import Ints, rope_positions, shift_after
from penstock.engine.step_tensors import ImageTokens, StepInputs, in_order
from penstock.transfer.embeddings import pool_rows


def with_images(inputs: StepInputs, batch: Batch, merge_size: int) -> StepInputs:
    """The same step, with positions as M-RoPE counts them and, if it runs tokens of images, `images`."""
    items = in_order(batch)
    if not any(item.sequence.request.images for item in items):
        return inputs
    wide = inputs.wide.copy()
    runs: list[tuple[int, Ints]] = []  # [3, run]: positions of those that hold tokens of images
    places, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    begin = 0
    for item in items:
        images, end = item.sequence.request.images, begin + item.num_tokens
        if images and item.start >= images[-1].end:
            wide[1, begin:end] += shift_after(images, merge_size)
        elif images:
            positions = rope_positions(images, merge_size, item.start, item.end)
            wide[1, begin:end] = positions[0]
            runs.append((begin, positions))
            item_places, item_rows = _image_tokens(item)
            places.append(item_places + begin)
            rows.append(item_rows)
        begin = end
    inputs = replace(inputs, wide=wide)
    if not any(len(of_item) for of_item in places):
        return inputs
    positions = np.tile(wide[1], (3, 1))
    for begin, of_run in runs:
        positions[:, begin : begin + of_run.shape[1]] = of_run
    return replace(inputs, images=ImageTokens(positions, np.concatenate(places), np.concatenate(rows)))


def _image_tokens(item: ScheduledSequence) -> tuple[Ints, Ints]:
    """Those among the item's own tokens that stand for images, and the rows of their embeddings in the pool."""
    places, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for index, image in enumerate(item.sequence.request.images):
        first, last = max(image.start, item.start), min(image.end, item.end)
        if first < last:
            places.append(np.arange(first - item.start, last - item.start))
            block_ids = item.sequence.image_block_ids[index]
            rows.append(pool_rows(block_ids, first - image.start, last - image.start))
    return np.concatenate(places), np.concatenate(rows)
