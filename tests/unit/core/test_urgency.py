"""Slack and the S-EDF priority, by hand."""

import pytest

from penstock.core.step_cost import StepCost
from penstock.core.types import Request, SamplingParams, Sequence
from penstock.core.urgency import batch_s, remaining_s, slack_priority, slack_s

COST = StepCost(1.0, 0.1, 0.0, 0.0, 0.0, 1.0)


def prompt(num_tokens: int, num_computed: int = 0) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams())
    return Sequence(request, list(range(num_tokens)), 0.0, num_computed_tokens=num_computed)


@pytest.mark.parametrize(
    ("deadline_s", "work_s", "slack", "priority"),
    [
        (15.0, 2.0, 3.0, 0.2),  # feasible: 1 / 5
        (15.0, 5.0, 0.0, 0.2),  # just feasible
        (15.0, 6.0, -1.0, -0.2),  # too late to begin
        (8.0, 1.0, -3.0, -0.5),  # deadline gone
        (float("inf"), 5.0, float("inf"), 0.0),
    ],
)
def test_priority_is_the_sign_of_slack_over_the_distance_to_the_deadline(
    deadline_s: float, work_s: float, slack: float, priority: float
) -> None:
    assert slack_s(deadline_s, work_s, 10.0) == slack
    assert slack_priority(deadline_s, work_s, 10.0) == pytest.approx(priority)


def test_a_deadline_that_is_now_is_the_most_or_the_least_urgent() -> None:
    assert slack_priority(10.0, 0.0, 10.0) > 1e6
    assert slack_priority(10.0, 1.0, 10.0) < -1e6


def test_only_what_is_left_of_a_prompt_counts_and_a_batch_has_one_base() -> None:
    assert remaining_s(prompt(30, 20), COST) == pytest.approx(2.0)
    assert batch_s([prompt(30, 20), prompt(10)], COST) == pytest.approx(3.0)
