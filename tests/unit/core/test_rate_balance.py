"""Splits of workers over stages, against exhaustive search."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.rate_balance import best_counts, served_rate


@pytest.mark.parametrize(
    ("num_workers", "rates", "counts"),
    [
        (2, {"P": 18.23, "D": 4.88}, {"P": 1, "D": 1}),
        (5, {"P": 18.23, "D": 4.88}, {"P": 1, "D": 4}),  # ModelArts' example: about 1 : 3.7
        (14, {"P": 18.23, "D": 4.88}, {"P": 3, "D": 11}),
        (3, {"P": 5.6, "D": 10.0}, {"P": 2, "D": 1}),  # DistServe's motivating example
        (8, {"E": 1.0, "P": 6.0, "D": 6.0}, {"E": 6, "P": 1, "D": 1}),  # EPD's 6E1P1D, when encoding is that long
    ],
)
def test_splits_by_rate(num_workers: int, rates: dict[str, float], counts: dict[str, int]) -> None:
    assert best_counts(num_workers, rates) == counts


def test_distserves_example_serves_3_3_requests_per_second_and_worker() -> None:
    rates = {"P": 5.6, "D": 10.0}
    assert served_rate(best_counts(3, rates), rates) / 3 == pytest.approx(3.33, abs=0.01)


def test_too_few_workers_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="cannot fill 3 stages"):
        best_counts(2, {"E": 1.0, "P": 1.0, "D": 1.0})


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=3), st.integers(3, 9))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_no_other_split_serves_more(stage_rates: list[float], num_workers: int) -> None:
    rates = dict(enumerate(stage_rates))
    counts = best_counts(num_workers, rates)
    assert sum(counts.values()) == num_workers
    others = [c for c in product(range(1, num_workers), repeat=len(rates)) if sum(c) == num_workers]
    assert served_rate(counts, rates) >= max(served_rate(dict(enumerate(c)), rates) for c in others)
