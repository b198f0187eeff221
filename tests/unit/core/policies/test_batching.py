"""What the next step runs, as tables."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.batching import BatchLimits, num_new_blocks, plan_batch
from penstock.core.types import Request, SamplingParams, Sequence

BLOCK = 16


def make(num_tokens: int, num_computed: int = 0, num_blocks: int | None = None, prefill_only: bool = False) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams())
    held = -(-num_tokens // BLOCK) if num_blocks is None else num_blocks
    return Sequence(
        request, list(range(num_tokens)), 0.0, list(range(held)), num_computed, is_prefill_only=prefill_only
    )


def decoding(num_tokens: int, num_blocks: int | None = None) -> Sequence:
    return make(num_tokens, num_tokens - 1, num_blocks)


@pytest.mark.parametrize(
    ("num_blocks", "end", "num_new"), [(0, 0, 0), (0, 1, 1), (1, 16, 0), (1, 17, 1), (3, 16, 0), (1, 100, 6)]
)
def test_counts_the_blocks_a_sequence_lacks(num_blocks: int, end: int, num_new: int) -> None:
    assert num_new_blocks(make(100, num_blocks=num_blocks), end, BLOCK) == num_new


@pytest.mark.parametrize(
    ("case", "running", "waiting", "limits", "num_free", "planned"),
    [
        # planned: (who, start, num_tokens); running are named 0, 1, ... and waiting go on after them
        ("nothing", [], [], BatchLimits(), 10, []),
        ("a whole prompt", [], [make(40)], BatchLimits(64, 8), 10, [(0, 0, 40)]),
        ("a prompt larger than a step", [], [make(100)], BatchLimits(64, 8), 10, [(0, 0, 64)]),
        ("two prompts share a step", [], [make(40), make(40)], BatchLimits(64, 8), 10, [(0, 0, 40), (1, 0, 24)]),
        ("a prefix is not computed", [], [make(40, 32)], BatchLimits(64, 8), 10, [(0, 32, 8)]),
        (
            "decodes go first",
            [make(100, 64), decoding(20), decoding(30)],
            [],
            BatchLimits(10, 8),
            10,
            [(1, 19, 1), (2, 29, 1), (0, 64, 8)],
        ),
        (
            "decodes before chunks before new",
            [make(100, 64)],
            [make(9)],
            BatchLimits(40, 8),
            9,
            [(0, 64, 36), (1, 0, 4)],
        ),
        ("no place", [decoding(20), decoding(20)], [make(9)], BatchLimits(40, 2), 9, [(0, 19, 1), (1, 19, 1)]),
        ("no tokens left", [decoding(20), decoding(20)], [make(9)], BatchLimits(2, 8), 9, [(0, 19, 1), (1, 19, 1)]),
        ("more decodes than tokens: the oldest", [decoding(20), decoding(20)], [], BatchLimits(1, 8), 9, [(0, 19, 1)]),
        ("waiting lacks blocks", [], [make(40, num_blocks=0)], BatchLimits(64, 8), 2, []),
        ("nobody passes who lacks blocks", [], [make(40, num_blocks=0), make(8)], BatchLimits(64, 8), 2, []),
        ("waiting finds blocks", [], [make(40, num_blocks=0)], BatchLimits(64, 8), 3, [(0, 0, 40)]),
        ("one decode takes the last block", [decoding(17, 1)], [], BatchLimits(64, 8), 1, [(0, 16, 1)]),
        ("alone and without a block: it waits", [decoding(17, 1)], [], BatchLimits(64, 8), 0, []),
        ("who waits with blocks may start even so", [decoding(17, 1)], [make(8)], BatchLimits(64, 8), 0, [(1, 0, 8)]),
    ],
)
def test_plans(
    case: str,
    running: list[Sequence],
    waiting: list[Sequence],
    limits: BatchLimits,
    num_free: int,
    planned: list[tuple[int, int, int]],
) -> None:
    plan = plan_batch(running, waiting, limits, num_free, BLOCK)
    everyone = running + waiting
    assert [(everyone.index(item.sequence), item.start, item.num_tokens) for item in plan.items] == planned, case
    assert plan.preempted == ()


def test_the_latest_make_room_and_the_oldest_runs() -> None:
    running = [decoding(17, 1), decoding(33, 2), decoding(33, 2)]
    waiting = [make(8)]
    plan = plan_batch(running, waiting, BatchLimits(64, 8), 0, BLOCK)
    assert plan.preempted == (running[2],)
    assert [item.sequence for item in plan.items] == running[:2]  # nothing waiting starts in such a step


def test_as_few_as_possible_make_room() -> None:
    running = [decoding(17, 1), decoding(20, 2), decoding(20, 2)]
    plan = plan_batch(running, [], BatchLimits(64, 8), 0, BLOCK)
    assert plan.preempted == (running[2],)


def test_what_is_being_handed_over_is_never_preempted() -> None:
    running = [decoding(17, 1), make(64, 16, prefill_only=True)]
    plan = plan_batch(running, [], BatchLimits(64, 8), 0, BLOCK)
    assert plan.preempted == ()
    assert [item.sequence for item in plan.items] == [running[1]]


@given(
    st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=8),
    st.lists(st.integers(1, 100), max_size=8),
    st.integers(1, 80),
    st.integers(1, 10),
    st.integers(0, 12),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_plan_exceeds_its_limits(
    run: list[tuple[int, bool]], wait: list[int], max_tokens: int, max_sequences: int, num_free: int
) -> None:
    running = [decoding(num, -(-(num - 1) // BLOCK)) if is_decode else make(num) for num, is_decode in run]
    waiting = [make(num) for num in wait]
    plan = plan_batch(running, waiting, BatchLimits(max_tokens, max_sequences), num_free, BLOCK)
    assert sum(item.num_tokens for item in plan.items) <= max_tokens
    assert len({item.sequence for item in plan.items}) == len(plan.items)
    assert all(item.num_tokens > 0 and item.end <= item.sequence.num_tokens for item in plan.items)
    num_started = sum(item.sequence in waiting for item in plan.items)
    assert num_started == 0 or len(running) + num_started <= max_sequences
    needed = sum(num_new_blocks(item.sequence, item.end, BLOCK) for item in plan.items)
    assert needed <= num_free + sum(len(sequence.block_ids) for sequence in plan.preempted)
    assert not set(plan.preempted) & {item.sequence for item in plan.items}
    assert not running or running[0] not in plan.preempted
