"""Images of one request over encoders."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.encode_cost import EncodeCost
from penstock.core.policies.encoder_sharding import shard

COST = EncodeCost(0.0, 0.001)  # 1 ms per patch


@pytest.mark.parametrize(
    ("case", "images", "queued_s", "cost", "max_shards", "shards", "finished_s"),
    [
        ("nothing to encode", [], {"a": 0.0}, COST, None, {}, 0.0),
        ("nobody to encode it", [100], {}, COST, None, {}, 0.0),
        ("one image is not cut", [100], {"a": 0.0, "b": 0.0}, COST, None, {"a": (0,)}, 0.1),
        (
            "equal images are dealt round: ceil(4 / 3)",
            [100] * 4,
            {"a": 0.0, "b": 0.0, "c": 0.0},
            COST,
            None,
            {"a": (0, 3), "b": (1,), "c": (2,)},
            0.2,
        ),
        ("the largest first", [1, 2, 3, 4], {"a": 0.0, "b": 0.0}, COST, None, {"a": (0, 3), "b": (1, 2)}, 0.005),
        ("around a queue", [100, 100], {"a": 0.3, "b": 0.0}, COST, None, {"b": (0, 1)}, 0.2),
        (
            "small images stay together",
            [10, 10],
            {"a": 0.0, "b": 0.005},
            EncodeCost(0.05, 0.0001),
            None,
            {"a": (0, 1)},
            0.052,
        ),
        ("sharding off", [100] * 4, {"a": 0.2, "b": 0.1}, COST, 1, {"b": (0, 1, 2, 3)}, 0.5),
    ],
)
def test_shards(
    *,
    case: str,
    images: list[int],
    queued_s: dict[str, float],
    cost: EncodeCost,
    max_shards: int | None,
    shards: dict[str, tuple[int, ...]],
    finished_s: float,
) -> None:
    sharding = shard(images, queued_s, cost, max_shards)
    assert sharding.shards == shards, case
    assert sharding.finished_s == pytest.approx(finished_s)


@pytest.mark.parametrize(("num_images", "speedup"), [(2, 2.0), (4, 4.0), (6, 6.0), (8, 4.0)])
def test_eight_images_on_six_encoders_take_two_rounds(num_images: int, speedup: float) -> None:
    # EPD's 6E1P1D: without its request-internal parallelism one encoder does all of them
    encoders = {str(index): 0.0 for index in range(6)}
    alone = shard([1000] * num_images, encoders, COST, max_shards=1)
    assert alone.finished_s / shard([1000] * num_images, encoders, COST).finished_s == pytest.approx(speedup)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=7), st.integers(1, 3))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_image_is_encoded_once_and_soon(images: list[int], num_encoders: int) -> None:
    sharding = shard(images, {str(index): 0.0 for index in range(num_encoders)}, COST)
    assert sorted(index for indices in sharding.shards.values() for index in indices) == list(range(len(images)))
    optimum_s = min(
        max(sum(p for p, at in zip(images, places, strict=True) if at == e) for e in range(num_encoders)) * 0.001
        for places in product(range(num_encoders), repeat=len(images))
    )
    assert sharding.finished_s <= optimum_s * (4 / 3 - 1 / (3 * num_encoders)) + 1e-9
