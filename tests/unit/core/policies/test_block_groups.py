"""Contiguous runs of blocks: split, merged, never lost."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.block_groups import Runs, give_back, groups_of, take

FREE: Runs = (range(8), range(20, 24), range(32, 96))


@pytest.mark.parametrize(
    ("case", "num_blocks", "next_block", "taken", "left"),
    [
        ("nothing", 0, None, (), FREE),
        ("a run that fits exactly", 4, None, (range(20, 24),), (range(8), range(32, 96))),
        ("the smallest that holds it", 5, None, (range(5),), (range(5, 8), range(20, 24), range(32, 96))),
        ("the sequence goes on", 2, 32, (range(32, 34),), (range(8), range(20, 24), range(34, 96))),
        ("and on, as far as it goes", 6, 20, (range(20, 24), range(2)), (range(2, 8), range(32, 96))),
        ("nothing follows it", 4, 12, (range(20, 24),), (range(8), range(32, 96))),
        ("no run holds it: the largest first", 70, None, (range(32, 96), range(6)), (range(6, 8), range(20, 24))),
        ("all of it", 76, None, (range(32, 96), range(8), range(20, 24)), ()),
    ],
)
def test_takes_few_runs(case: str, num_blocks: int, next_block: int | None, taken: Runs, left: Runs) -> None:
    assert take(FREE, num_blocks, next_block) == (taken, left), case


def test_takes_nothing_when_there_is_not_enough() -> None:
    assert take(FREE, 77) is None


@pytest.mark.parametrize(
    ("runs", "free"),
    [
        ([range(8, 20)], (range(24), range(32, 96))),
        ([range(24, 32), range(8, 10)], (range(10), range(20, 96))),
        ([range(100, 100)], FREE),
    ],
)
def test_neighbours_merge(runs: list[range], free: Runs) -> None:
    assert give_back(FREE, runs) == free


def test_a_block_given_back_twice_is_an_error() -> None:
    with pytest.raises(AssertionError, match="free already"):
        give_back(FREE, [range(6, 9)])


def test_groups_keep_the_sequences_order() -> None:
    assert groups_of([7, 8, 9, 3, 4, 20]) == (range(7, 10), range(3, 5), range(20, 21))
    assert groups_of([]) == ()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=40))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_blocks_are_neither_lost_nor_doubled(requests: list[tuple[bool, int]]) -> None:
    free: Runs = (range(128),)
    held: list[Runs] = []
    for gives_back, number in requests:
        if gives_back and held:
            free = give_back(free, held.pop(number % len(held)))
        elif (answer := take(free, number, held[-1][-1].stop if held else None)) is not None:
            taken, free = answer
            assert sum(len(run) for run in taken) == number
            held.append(taken)
        blocks = [block for run in (*free, *(run for runs in held for run in runs)) for block in run]
        assert sorted(blocks) == list(range(128))
        assert all(before.stop < after.start for before, after in pairwise(free))
    assert give_back(free, [run for runs in held for run in runs]) == (range(128),)
