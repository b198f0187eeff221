"""Counts by bucket, and what they say of quantiles."""

import pytest

from penstock.core.histogram import Histogram, quantile

BOUNDS = (0.1, 0.2, 0.4)


def test_counts_values_up_to_and_with_their_bound() -> None:
    histogram = Histogram(BOUNDS)
    for value in (0.05, 0.1, 0.15, 0.4, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1, 1]
    assert histogram.count == 5
    assert histogram.sum == pytest.approx(9.7)


def test_what_came_since_is_a_difference() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(0.3)
    earlier = tuple(histogram.counts)
    histogram.observe(0.3)
    histogram.observe(5.0)
    assert histogram.since(earlier) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("case", "counts", "fraction", "value"),
    [
        ("nothing", [0, 0, 0, 0], 0.5, None),
        ("the middle of the only bucket", [0, 10, 0, 0], 0.5, 0.15),
        ("the first bucket begins at 0", [10, 0, 0, 0], 0.5, 0.05),
        ("the end of a bucket", [5, 5, 0, 0], 0.5, 0.1),
        ("the start of the next", [5, 5, 0, 0], 0.6, 0.12),
        ("beyond the last bound: that bound", [0, 0, 0, 3], 0.5, 0.4),
        ("all", [1, 0, 1, 0], 1.0, 0.4),
    ],
)
def test_quantiles_are_linear_within_a_bucket(
    case: str, counts: list[int], fraction: float, value: float | None
) -> None:
    found = quantile(BOUNDS, counts, fraction)
    assert found == (None if value is None else pytest.approx(value)), case
