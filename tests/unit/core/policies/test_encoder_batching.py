"""Encoder batches, and encoding beside language steps."""

import pytest

from penstock.core.encode_cost import EncodeCost
from penstock.core.policies.encoder_batching import EncodeJob, EncodeLimits, choose_batch, patches_beside_step

LIMITS = EncodeLimits(max_images=3, capacity_tokens=1000, max_patches=5000)


def image(num_patches: int = 1000, num_tokens: int = 64) -> EncodeJob:
    return EncodeJob("r", num_patches, num_tokens)


@pytest.mark.parametrize(
    ("case", "waiting", "num_held", "num_chosen"),
    [
        ("nothing", [], 0, 0),
        ("all", [image()] * 2, 0, 2),
        ("images", [image()] * 5, 0, 3),
        ("embeddings not yet taken count", [image(num_tokens=400)] * 3, 300, 1),
        ("prefill lags: the encoder stops", [image()], 950, 0),
        ("patches", [image(3000), image(2000), image(1)], 0, 2),
        ("too large an image runs alone", [image(9000), image(1)], 0, 1),
        ("so does one with too many embeddings", [image(num_tokens=1001), image()], 0, 1),
        ("once nothing is held", [image(num_tokens=1001), image()], 1, 0),
        ("nobody is passed", [image(num_tokens=990), image(num_tokens=64), image(num_tokens=1)], 0, 1),
    ],
)
def test_batches(case: str, waiting: list[EncodeJob], num_held: int, num_chosen: int) -> None:
    assert choose_batch(waiting, num_held, LIMITS) == tuple(waiting[:num_chosen]), case


@pytest.mark.parametrize(
    ("step_s", "num_unfinished", "num_patches"),
    [(0.020, 0, 2000), (0.040, 0, 0), (0.060, 0, 0), (0.0, 0, 4000), (0.0, 1, 0)],
)
def test_encoding_beside_a_step_takes_what_the_objective_leaves(
    step_s: float, num_unfinished: int, num_patches: int
) -> None:
    # objective 50 ms: 10 ms of base and 10 us per patch
    assert patches_beside_step(step_s, 0.050, num_unfinished, EncodeCost(0.010, 1e-5)) == num_patches
