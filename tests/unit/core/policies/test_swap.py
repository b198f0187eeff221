"""What a context switch copies, and which way back is faster."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.swap import (
    ResumeBy,
    SwapCost,
    blocks_to_swap_out,
    is_asynchronous,
    resume_by,
    valid_tokens_after,
)
from penstock.core.step_cost import StepCost

BLOCK = 16


@pytest.mark.parametrize(
    ("num_computed", "num_valid", "blocks"),
    [
        (0, 0, []),
        (40, 0, [0, 1, 2]),
        (40, 32, [2]),
        (40, 40, []),
        (48, 40, [2]),  # the third block has grown since
        (49, 40, [2, 3]),
        (100, 96, [6]),
    ],
)
def test_only_the_increment_is_copied(num_computed: int, num_valid: int, blocks: list[int]) -> None:
    assert list(blocks_to_swap_out(num_computed, num_valid, BLOCK)) == blocks


@pytest.mark.parametrize(
    ("num_valid", "lost", "left"), [(40, 0, 0), (40, 1, 16), (40, 2, 32), (40, 3, 40), (40, 9, 40)]
)
def test_the_copy_is_valid_up_to_the_first_block_that_was_lost(num_valid: int, lost: int, left: int) -> None:
    assert valid_tokens_after(num_valid, lost, BLOCK) == left


@given(st.integers(0, 500), st.integers(0, 500))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_after_a_copy_everything_is_valid(num_computed: int, num_valid: int) -> None:
    blocks = blocks_to_swap_out(num_computed, num_valid, BLOCK)
    stale = set(range(-(-num_computed // BLOCK))) - set(blocks)
    assert all((block + 1) * BLOCK <= num_valid or num_computed <= num_valid for block in stale)


def test_few_groups_cost_less_than_many_blocks() -> None:
    # 32 layers, K and V apart, 64 blocks of 2 MiB: 4096 copies against 2 groups' 128
    cost = SwapCost(copy_s=10e-6, bytes_per_s=32e9, copies_per_group=64)
    num_bytes = 64 * 2 * 2**20
    assert cost.seconds(64, num_bytes) == pytest.approx(0.04096 + 0.0041943)
    assert cost.seconds(2, num_bytes) == pytest.approx(0.00128 + 0.0041943)


@pytest.mark.parametrize(
    ("num_tokens", "swap_in_s", "way"),
    [
        # 34B, 50K context: KV 12.3 GB over 20 GB/s is 0.6 s; computing it anew takes seconds (arXiv 2405.08944)
        (50_000, 0.615, ResumeBy.SWAP_IN),
        (50_000, 60.0, ResumeBy.RECOMPUTE),
        (100, 0.05, ResumeBy.RECOMPUTE),
        (100, 0.020, ResumeBy.SWAP_IN),  # a tie
    ],
)
def test_the_faster_way_back_is_taken(num_tokens: int, swap_in_s: float, way: ResumeBy) -> None:
    assert resume_by(num_tokens, swap_in_s, StepCost(0.010, 1e-4, 0.0, 0, 0, 1)) is way


@pytest.mark.parametrize(
    ("swap_s", "step_s", "num_running", "num_swapping", "is_async"),
    [(0.05, 0.02, 32, 1, True), (0.001, 0.02, 2, 8, False), (0.05, 0.02, 0, 4, False), (0.02, 0.02, 4, 4, False)],
)
def test_the_batch_goes_on_when_that_delays_fewer_tokens(
    swap_s: float, step_s: float, num_running: int, num_swapping: int, is_async: bool
) -> None:
    assert is_asynchronous(swap_s, step_s, num_running, num_swapping) is is_async
