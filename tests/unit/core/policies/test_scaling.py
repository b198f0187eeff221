"""How many workers the load needs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.scaling import ScalingLimits, ScalingState, desired_count

LIMITS = ScalingLimits(min_workers=1, max_workers=20, target_utilisation=0.5, tolerance=0.1, down_window_s=300.0)


@pytest.mark.parametrize(
    ("case", "current", "arrival_rate", "count"),
    [
        # one worker serves 2 requests/s, and is to be half busy: one per request/s
        ("as it should be", 4, 4.0, 4),
        ("a tenth more is tolerated", 10, 11.0, 10),
        ("a little more is not", 10, 11.1, 12),
        ("up at once", 2, 9.2, 10),
        ("at most", 2, 900.0, 20),
        ("at least", 1, 0.0, 1),
        ("from nothing", 0, 3.0, 3),
    ],
)
def test_counts(case: str, current: int, arrival_rate: float, count: int) -> None:
    assert desired_count(current, arrival_rate, 2.0, ScalingState(), 0.0, LIMITS)[0] == count, case


def test_down_only_when_the_window_has_passed() -> None:
    state, current, counts = ScalingState(), 10, []
    for now_s, arrival_rate in [(0.0, 10.0), (60.0, 2.0), (120.0, 6.0), (299.0, 2.0), (300.0, 2.0), (420.0, 2.0)]:
        current, state = desired_count(current, arrival_rate, 2.0, state, now_s, LIMITS)
        counts.append(current)
    assert counts == [10, 10, 10, 10, 6, 2]


@given(st.lists(st.floats(0.0, 40.0), min_size=1, max_size=100))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_never_below_what_is_needed_nor_out_of_bounds(rates: list[float]) -> None:
    state, current = ScalingState(), 1
    for tick, arrival_rate in enumerate(rates):
        current, state = desired_count(current, arrival_rate, 2.0, state, 30.0 * tick, LIMITS)
        assert 1 <= current <= 20
        assert current >= min(20, arrival_rate / (1 + LIMITS.tolerance) - 1e-9)
        assert len(state.needed) <= 20  # one entry for each smaller count
