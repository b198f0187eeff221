"""Orders of waiting prompts, as a table."""

import pytest

from penstock.core.policies.prefill_order import ORDERS, remaining_work, slack_edf
from penstock.core.step_cost import StepCost
from penstock.core.types import Request, SamplingParams, Sequence

COST = StepCost(0.0, 0.001, 0.0, 0.0, 0.0, 1.0)  # 1 ms per token
NOW_S = 100.0
FOREVER = float("inf")


def prompt(
    name: str, num_tokens: int, arrived_s: float, deadline_s: float = FOREVER, num_computed: int = 0
) -> Sequence:
    request = Request(name, 0, "g", 0, range(num_tokens), SamplingParams(), first_token_deadline_s=deadline_s)
    return Sequence(request, list(range(num_tokens)), arrived_s, num_computed_tokens=num_computed)


def names(sequences: list[Sequence]) -> str:
    return " ".join(sequence.request.request_id for sequence in sequences)


WAITING = [
    prompt("file", 8000, 97.0, 106.0),  # 8 s of work, slack -2
    prompt("text", 200, 99.9, 100.25),  # slack 0.05
    prompt("search", 3000, 99.0, 103.5),  # slack 0.5
    prompt("cached", 4000, 99.5, FOREVER, num_computed=3900),  # 0.1 s of work
    prompt("doomed", 500, 98.0, 100.1),  # slack -0.4
]


@pytest.mark.parametrize(
    ("order", "served"),
    [
        ("fcfs", "file doomed search cached text"),
        ("sjf", "text doomed search cached file"),
        # seconds of work less a tenth of the wait: .1 - .05, .2 - .01, .5 - .2, 3 - .1, 8 - .3
        ("remaining_work", "cached text doomed search file"),
        # 1 / .25, 1 / 3.5, 0, -1 / 6, -1 / .1
        ("slack_edf", "text search cached file doomed"),
        ("urgency", "text search cached doomed file"),  # of the two that are late the one that is sooner done
    ],
)
def test_orders(order: str, served: str) -> None:
    assert names(ORDERS[order](WAITING, COST, NOW_S)) == served


@pytest.mark.parametrize("order", ORDERS)
def test_equals_are_served_as_they_came(order: str) -> None:
    waiting = [prompt("second", 10, 99.0), prompt("first", 10, 98.0), prompt("third", 10, 99.5)]
    assert names(ORDERS[order](waiting, COST, NOW_S)) == "first second third"


@pytest.mark.parametrize(
    ("num_cached", "served"), [(0, "short long"), (1000, "short long"), (1900, "long short"), (1999, "long short")]
)
def test_a_cache_hit_is_worth_the_work_it_saves(num_cached: int, served: str) -> None:
    waiting = [prompt("long", 2000, 99.0, num_computed=num_cached), prompt("short", 500, 99.0)]
    assert names(remaining_work(waiting, COST, NOW_S)) == served


@pytest.mark.parametrize(("later_s", "served"), [(19.0, "new old"), (20.0, "old new")])
def test_ageing_bounds_how_long_the_short_may_pass_the_long(later_s: float, served: str) -> None:
    old = prompt("old", 2000, 0.0)  # 2 s of work: whoever comes 2 / 0.1 = 20 s later never passes
    assert names(remaining_work([old, prompt("new", 1, later_s)], COST, later_s)) == served


def test_in_overload_the_doomed_do_not_drag_others_with_them() -> None:
    # plain EDF would serve "late" first and then miss "due" too
    waiting = [prompt("late", 1000, 90.0, 100.5), prompt("due", 1000, 99.0, 101.2)]
    assert names(slack_edf(waiting, COST, NOW_S)) == "due late"
