"""Who keeps its memory and who gives it up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.victims import choose_residents, choose_victims
from penstock.core.types import Request, SamplingParams, Sequence

BLOCK = 16


def sequence(
    name: str, num_blocks: int, priority: int = 0, arrived_s: float = 0.0, is_prefill_only: bool = False
) -> Sequence:
    """Resident, with its last block not full; `swapped` makes it lose its blocks."""
    num_tokens = max(1, num_blocks * BLOCK - 8)
    request = Request(name, 0, "g", 0, range(num_tokens), SamplingParams(), priority=priority)
    blocks = list(range(num_blocks))
    return Sequence(request, list(range(num_tokens)), arrived_s, blocks, is_prefill_only=is_prefill_only)


def swapped(name: str, num_blocks: int, priority: int = 0, arrived_s: float = 0.0) -> Sequence:
    result = sequence(name, num_blocks, priority, arrived_s)
    result.block_ids = []
    return result


def names(sequences: tuple[Sequence, ...]) -> str:
    return " ".join(each.request.request_id for each in sequences)


RUNNING = [
    sequence("urgent", 4, priority=2, arrived_s=9.0),
    sequence("old", 4, priority=1, arrived_s=1.0),
    sequence("new", 4, priority=1, arrived_s=5.0),
    sequence("moving", 4, priority=-5, is_prefill_only=True),
]


@pytest.mark.parametrize(
    ("num_blocks", "served", "victims"),
    [
        (0, {}, ""),
        (1, {}, "new"),  # the latest of the lowest priority
        (4, {}, "new"),
        (5, {}, "new old"),
        (5, {"old": 900.0, "new": 100.0}, "old new"),  # who has had most goes first
        (9, {}, "new old urgent"),
        (99, {}, "new old urgent"),  # never what is being handed over
    ],
)
def test_victims_are_the_least_urgent_then_the_most_served_then_the_latest(
    num_blocks: int, served: dict[str, float], victims: str
) -> None:
    assert names(choose_victims(RUNNING, num_blocks, served)) == victims


@pytest.mark.parametrize(
    ("case", "sequences", "num_blocks", "residents"),
    [
        ("all fit", [sequence("a", 4), swapped("b", 4)], 8, "a b"),
        ("priority first", [sequence("a", 4), swapped("b", 4, priority=1)], 4, "b"),
        (
            "equals do not push each other out",
            [sequence("a", 4, arrived_s=5.0), swapped("b", 4, arrived_s=1.0)],
            4,
            "a",
        ),
        ("the long are not starved", [swapped("long", 6, priority=1), swapped("short", 1)], 5, ""),
        ("what moves stays", [sequence("m", 4, -9, is_prefill_only=True), swapped("b", 4, priority=9)], 4, "m"),
    ],
)
def test_residents(case: str, sequences: list[Sequence], num_blocks: int, residents: str) -> None:
    assert names(choose_residents(sequences, num_blocks, BLOCK)) == residents, case


def test_a_full_last_block_needs_one_more() -> None:
    full = sequence("full", 2)
    full.token_ids = list(range(32))
    assert names(choose_residents([full], 2, BLOCK)) == ""
    assert names(choose_residents([full], 3, BLOCK)) == "full"


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(-2, 2)), max_size=12), st.integers(0, 60))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_victims_free_enough_and_none_of_them_in_vain(shapes: list[tuple[int, int]], num_blocks: int) -> None:
    running = [sequence(str(index), *shape) for index, shape in enumerate(shapes)]
    victims = choose_victims(running, num_blocks)
    freed = [len(victim.block_ids) for victim in victims]
    assert sum(freed) >= min(num_blocks, sum(len(each.block_ids) for each in running))
    assert sum(freed[:-1]) < max(1, num_blocks)
    kept = [each for each in running if each not in victims]
    least = min((each.request.priority for each in kept), default=9)
    assert all(victim.request.priority <= least for victim in victims)
