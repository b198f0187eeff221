"""Rates per role, against the published sizing example, and the online signal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.role_ratio import (
    MeanRequest,
    decode_batch,
    decode_rate,
    mixed_rate,
    prefill_rate,
    share_signal,
)
from penstock.core.rate_balance import best_counts
from penstock.core.step_cost import StepCost
from penstock.core.types import Role

# ModelArts manual, Qwen2-72B, 256 in, 256 out: prefill 877.61 ms at batch 16, decode 51.43 ms at batch 64
EXAMPLE = MeanRequest(256, 256)
MEASURED = StepCost(0.0, 0.87761 / (16 * 256), 0.0, 0.05143, 0.0, 0.0)


def test_the_published_example() -> None:
    q_prefill = prefill_rate(EXAMPLE, MEASURED, batch=16)
    q_decode = decode_rate(EXAMPLE, MEASURED, batch=64)
    assert q_prefill == pytest.approx(18.23, abs=0.005)
    assert q_decode == pytest.approx(4.88, abs=0.005)
    assert q_prefill / q_decode == pytest.approx(3.7, abs=0.05)
    assert best_counts(47, {Role.PREFILL: q_prefill, Role.DECODE: q_decode}) == {Role.PREFILL: 10, Role.DECODE: 37}


@pytest.mark.parametrize(
    ("tpot_s", "num_kv_tokens", "batch"),
    [
        (0.050, 10**9, 21),  # (0.050 - 0.010) / (1e-6 * 900 + 0.001) = 21.05
        (0.050, 9000, 10),  # memory: 9000 / 900
        (0.010, 10**9, 0),
    ],
)
def test_the_decode_batch_is_bound_by_time_or_memory(tpot_s: float, num_kv_tokens: int, batch: int) -> None:
    cost = StepCost(0.0, 0.0, 0.0, 0.010, 1e-6, 0.001)
    assert decode_batch(MeanRequest(800, 200), cost, tpot_s, num_kv_tokens) == batch


@given(st.integers(1, 4096), st.floats(0.0, 0.5))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_largest_batch_is_in_time_and_one_more_is_not(num_context: int, tpot_s: float) -> None:
    cost = StepCost(0.018, 1e-4, 7e-9, 0.020, 6.3e-7, 3.9e-5)
    most = decode_batch(MeanRequest(num_context, 1), cost, tpot_s, 10**9)
    assert most == 0 or cost.decode_s(most, most * num_context) <= tpot_s
    assert cost.decode_s(most + 1, (most + 1) * num_context) > tpot_s


# a step of n prompt tokens and d decodes takes 10 ms + (n + d) / 10_000 s; 100 in and 101 out run as many of each
@pytest.mark.parametrize(
    ("tpot_s", "num_kv_tokens", "chunk", "num_each"),
    [
        (0.020, 10**9, 10**4, 50),  # 10 ms + 100 tokens
        (0.020, 10**9, 60, 30),  # the step's own limit
        (0.020, 150 * 20, 10**4, 20),  # memory for 20 sequences of 150 tokens
        (0.009, 10**9, 10**4, 0),
    ],
)
def test_a_mixed_worker_is_bound_by_time_by_memory_or_by_its_chunk(
    tpot_s: float, num_kv_tokens: int, chunk: int, num_each: int
) -> None:
    cost = StepCost(0.010, 1e-4, 0.0, 0.0, 0.0, 0.0)
    step_s = 0.010 + 2e-4 * num_each
    rate = mixed_rate(MeanRequest(100, 101), cost, tpot_s, num_kv_tokens, chunk)
    assert rate == pytest.approx(num_each / 100 / step_s)


def test_nothing_is_decoded_without_a_batch_and_everything_without_an_answer() -> None:
    assert decode_rate(EXAMPLE, MEASURED, 0) == 0.0
    assert decode_rate(MeanRequest(256, 1), MEASURED, 64) == float("inf")


@pytest.mark.parametrize(
    ("ttft_s", "e2e_s", "short"),
    [
        (0.5, 5.0, None),  # a share of 0.1, the target
        (0.6, 5.0, None),  # within a fifth of it
        (0.61, 5.0, Role.PREFILL),
        (0.39, 5.0, Role.DECODE),
        (0.0, 0.0, None),  # nothing measured
    ],
)
def test_the_share_of_ttft_tells_who_is_short(ttft_s: float, e2e_s: float, short: Role | None) -> None:
    assert share_signal(ttft_s, e2e_s, target_share=0.1) is short
