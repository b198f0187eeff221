"""Hysteresis, cool-down, minimum counts and one flip at a time."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.flip_guard import FlipLimits, FlipState, decide, finish
from penstock.core.pools import Flip
from penstock.core.types import Role

TO_DECODE = Flip(Role.PREFILL, Role.DECODE, "p1")
TO_PREFILL = Flip(Role.DECODE, Role.PREFILL, "d1")
LIMITS = FlipLimits(hold_s=3.0, cool_down_s=10.0, reverse_cool_down_s=60.0, min_workers={Role.DECODE: 2})
PLENTY = {Role.PREFILL: 8, Role.DECODE: 8}


def begun(*proposals: tuple[float, Flip | None], state: FlipState | None = None) -> list[float]:
    """When flips begin, each finished at the next tick."""
    state = state or FlipState()
    times: list[float] = []
    for now_s, proposed in proposals:
        if state.in_flight:
            state = finish(state, now_s)
        flip, state = decide(proposed, state, PLENTY, now_s, LIMITS)
        if flip:
            times.append(now_s)
    return times


@pytest.mark.parametrize(
    ("case", "proposals", "times"),
    [
        ("not at once", [(0.0, TO_DECODE), (2.9, TO_DECODE)], []),
        ("after it held", [(0.0, TO_DECODE), (3.0, TO_DECODE)], [3.0]),
        ("an interruption begins anew", [(0.0, TO_DECODE), (1.0, None), (3.0, TO_DECODE), (5.9, TO_DECODE)], []),
        ("so does the other way", [(0.0, TO_DECODE), (2.0, TO_PREFILL), (4.0, TO_DECODE), (6.0, TO_DECODE)], []),
        (
            "another worker does not",
            [(0.0, TO_DECODE), (3.0, Flip(Role.PREFILL, Role.DECODE, "p2"))],
            [3.0],
        ),
        (
            "cool-down runs from the end of the last",
            [(0.0, TO_DECODE), (3.0, TO_DECODE), (4.0, TO_DECODE), (13.9, TO_DECODE), (14.0, TO_DECODE)],
            [3.0, 14.0],
        ),
        (
            "and longer for the way back",
            [(0.0, TO_DECODE), (3.0, TO_DECODE), (4.0, TO_PREFILL), (63.9, TO_PREFILL), (64.0, TO_PREFILL)],
            [3.0, 64.0],
        ),
    ],
)
def test_begins(case: str, proposals: list[tuple[float, Flip | None]], times: list[float]) -> None:
    assert begun(*proposals) == times, case


@pytest.mark.parametrize(
    ("flip", "num_workers", "begins"),
    [
        (TO_PREFILL, {Role.PREFILL: 1, Role.DECODE: 2}, False),
        (TO_PREFILL, {Role.PREFILL: 1, Role.DECODE: 3}, True),
        (TO_DECODE, {Role.PREFILL: 1, Role.DECODE: 3}, False),
        (TO_DECODE, {Role.PREFILL: 2, Role.DECODE: 3}, True),
    ],
)
def test_enough_workers_must_remain(flip: Flip, num_workers: dict[Role, int], begins: bool) -> None:
    state = FlipState(wanted=(flip.from_role, flip.to_role), wanted_since_s=0.0)
    assert (decide(flip, state, num_workers, 5.0, LIMITS)[0] is flip) is begins


def test_one_flip_at_a_time_until_it_is_finished_or_lost() -> None:
    state = FlipState(wanted=(Role.PREFILL, Role.DECODE))
    flip, state = decide(TO_DECODE, state, PLENTY, 3.0, LIMITS)
    assert flip is TO_DECODE
    flip, state = decide(TO_DECODE, state, PLENTY, 122.9, LIMITS)
    assert flip is None
    assert state.in_flight is TO_DECODE
    flip, state = decide(TO_DECODE, state, PLENTY, 123.0, LIMITS)
    assert flip is None  # lost: the cool-down begins
    assert state.in_flight is None
    assert decide(TO_DECODE, state, PLENTY, 133.0, LIMITS)[0] is TO_DECODE


@given(st.lists(st.sampled_from([None, TO_DECODE, TO_PREFILL]), max_size=200))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_flips_are_never_closer_than_the_cool_down(proposals: list[Flip | None]) -> None:
    times = begun(*((float(tick), proposed) for tick, proposed in enumerate(proposals)))
    assert all(later - earlier >= LIMITS.cool_down_s for earlier, later in pairwise(times))
