"""Steps that run tokens of images."""

from collections.abc import Sequence as SequenceOf

import numpy as np
import pytest

from penstock.core.embeddings import PAGE_TOKENS
from penstock.core.images import ImageSpan
from penstock.core.types import Batch, Request, SamplingParams, ScheduledSequence, Sequence
from penstock.engine.image_steps import with_images
from penstock.engine.models.image_positions import rope_positions
from penstock.engine.step_tensors import StepInputs, build_inputs

BLOCK_SIZE, MERGE_SIZE = 4, 2
LONG = ImageSpan(3, 20, b"", (1, 8, 10))  # tokens [3, 23), 4 rows of 5
SHORT = ImageSpan(25, 2, b"", (1, 2, 4))  # tokens [25, 27)
PAGES = [[7, 2], [5]]
NUM_TOKENS = 30


def scheduled(start: int, num_tokens: int, images: SequenceOf[ImageSpan] = (LONG, SHORT)) -> ScheduledSequence:
    request = Request("r", 0, "g", 0, range(NUM_TOKENS), SamplingParams(), images=images)
    sequence = Sequence(request, list(range(NUM_TOKENS)), 0.0, list(range(8)), image_block_ids=PAGES)
    return ScheduledSequence(sequence, start, num_tokens)


def step(*items: ScheduledSequence) -> StepInputs:
    batch = Batch(0, items)
    return with_images(build_inputs(batch, BLOCK_SIZE, ()), batch, MERGE_SIZE)


def test_a_step_of_text_stays_as_it_is() -> None:
    batch = Batch(0, (scheduled(0, 5, images=()), scheduled(29, 1, images=())))
    inputs = build_inputs(batch, BLOCK_SIZE, ())
    assert with_images(inputs, batch, MERGE_SIZE) is inputs


def test_text_behind_images_is_only_shifted() -> None:
    inputs = step(scheduled(29, 1), scheduled(27, 2), scheduled(29, 1, images=()), scheduled(23, 2))
    shifts = (5 - 20) + (2 - 2)
    assert inputs.images is None
    assert inputs.wide[1].tolist() == [29 + shifts, 29, 27 + shifts, 28 + shifts, 23 - 15, 24 - 15]


def test_tokens_of_images_are_named_with_their_places_and_rows() -> None:
    inputs = step(scheduled(20, 7), scheduled(2, 3), scheduled(29, 1))
    assert inputs.images is not None
    # the decode, then tokens 20 to 26, then 2 to 4
    assert inputs.images.places.tolist() == [1, 2, 3, 6, 7, 9, 10]
    of_long = [
        2 * PAGE_TOKENS + 17 % PAGE_TOKENS,
        2 * PAGE_TOKENS + 18 % PAGE_TOKENS,
        2 * PAGE_TOKENS + 19 % PAGE_TOKENS,
    ]
    first_of_long = [7 * PAGE_TOKENS, 7 * PAGE_TOKENS + 1]
    assert inputs.images.rows.tolist() == [*of_long, 5 * PAGE_TOKENS, 5 * PAGE_TOKENS + 1, *first_of_long]
    images = (LONG, SHORT)
    parts = [rope_positions(images, MERGE_SIZE, start, end) for start, end in ((29, 30), (20, 27), (2, 5))]
    np.testing.assert_array_equal(inputs.images.positions, np.concatenate(parts, axis=1))


@pytest.mark.parametrize(("start", "num_tokens"), [(0, 3), (23, 2)])
def test_text_between_images_needs_no_rope_of_its_own(start: int, num_tokens: int) -> None:
    inputs = step(scheduled(start, num_tokens))
    expected = rope_positions((LONG, SHORT), MERGE_SIZE, start, start + num_tokens)[0]
    assert inputs.images is None
    assert inputs.wide[1].tolist() == expected.tolist()
