"""The encoder's cost model."""

import pytest

from penstock.core.encode_cost import EncodeCost

COST = EncodeCost(0.010, 1e-5)


@pytest.mark.parametrize(("num_patches", "seconds"), [(0, 0.0), (1, 0.01001), (1000, 0.020)])
def test_time_is_linear_in_patches(num_patches: int, seconds: float) -> None:
    assert COST.seconds(num_patches) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("time_s", "num_patches"), [(-1.0, 0), (0.005, 0), (0.010, 0), (0.020, 1000), (0.0200099, 1000)]
)
def test_as_many_patches_as_fit_into_a_time(time_s: float, num_patches: int) -> None:
    assert COST.max_patches(time_s) == num_patches
