"""Load a prefix or compute it: by hand, and Mooncake's and CacheBlend's printed numbers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.load_or_recompute import (
    LoadCost,
    blend_ratio,
    blend_s,
    break_even_bytes_per_s,
    plan_layered_load,
    plan_load,
)
from penstock.core.step_cost import StepCost

COST = StepCost(0.010, 1e-4, 1e-8, 0.0, 0.0, 1.0)
BLOCK = 16


@pytest.mark.parametrize(
    ("case", "num_stored", "load", "num_loaded", "seconds"),
    [
        # computing 4000 tokens: 0.01 + 0.4 + 0.16 = 0.57 s; the last 1000: 0.01 + 0.1 + 1e-8 * (16e6 - 9e6) = 0.18 s
        ("fast", 3000, LoadCost(0.02, 1e-5), 3000, 0.02 + 0.03 + 0.18),
        ("slow", 3000, LoadCost(0.02, 1.3e-4), 0, 0.57),
        ("just worth it", 3000, LoadCost(0.02, 1.2e-4), 3000, 0.02 + 0.36 + 0.18),
        ("not for a few tokens", 100, LoadCost(0.02, 1e-5), 0, 0.57),
        ("nothing stored", 0, LoadCost(0.0, 0.0), 0, 0.57),
        ("one token is always computed", 4000, LoadCost(0.0, 0.0), 3999, 0.01 + 1e-4 + 1e-8 * 7999),
    ],
)
def test_all_or_nothing_is_loaded(case: str, num_stored: int, load: LoadCost, num_loaded: int, seconds: float) -> None:
    plan = plan_load(4000, num_stored, COST, load)
    assert plan.num_loaded_tokens == num_loaded, case
    assert plan.seconds == pytest.approx(seconds)


@given(st.integers(1, 4000), st.floats(0.0, 0.05), st.floats(0.0, 3e-4))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_no_part_of_a_prefix_beats_all_or_nothing(num_stored: int, base_s: float, s_per_token: float) -> None:
    load = LoadCost(base_s, s_per_token)
    best = plan_load(4000, num_stored, COST, load)
    for part in range(0, min(num_stored, 3999) + 1, 250):
        assert best.seconds <= load.seconds(part) + COST.prefill_s(4000 - part, part) + 1e-9


@given(st.integers(2, 4000), st.integers(0, 5000), st.floats(0.0, 0.05), st.floats(0.0, 1e-3))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_layered_load_is_the_best_of_all_numbers_of_blocks(
    num_tokens: int, num_stored: int, base_s: float, s_per_token: float
) -> None:
    load = LoadCost(base_s, s_per_token)
    best = plan_layered_load(num_tokens, num_stored, BLOCK, COST, load)
    most = min(num_stored, num_tokens - 1) // BLOCK
    candidates = [
        max(load.seconds(n * BLOCK), COST.prefill_s(num_tokens - n * BLOCK, n * BLOCK)) for n in range(most + 1)
    ]
    assert best.seconds == pytest.approx(min(candidates))
    assert best.num_loaded_tokens % BLOCK == 0


def test_a_layered_load_hides_behind_what_is_computed() -> None:
    # 1e-4 s per token either way: half of it is loaded while the other half computes
    plan = plan_layered_load(3200, 3199, BLOCK, StepCost(0.0, 1e-4, 0.0, 0, 0, 1), LoadCost(0.0, 1e-4))
    assert plan.num_loaded_tokens == 1600
    assert plan.seconds == pytest.approx(0.16)


@pytest.mark.parametrize(
    ("num_gpus", "tflops", "gigabytes_per_s"),
    [(8, 312, 6.0), (8, 989, 19.0)],  # LLaMA3-70B, 8192 tokens, on A800 and H800, as Mooncake prints it
)
def test_break_even_bandwidth_is_mooncakes(num_gpus: int, tflops: float, gigabytes_per_s: float) -> None:
    needed = break_even_bytes_per_s(8192, 8192, 8, 2, num_gpus * tflops * 1e12)
    assert needed / 1e9 == pytest.approx(gigabytes_per_s, rel=0.03)


@pytest.mark.parametrize(
    ("load_s", "prefill_s", "ratio", "seconds"),
    [
        # CacheBlend's example per layer: Llama-7B, 4K: 15 % in 3 ms (20 ms in all), loading takes 16 ms from NVMe
        (0.016, 0.020, 0.8, 0.016),
        # Llama-70B: 15 % in 7 ms, loading takes 4 ms: the loading is hidden
        (0.004, 0.007 / 0.15, 0.15, 0.007),
        (0.030, 0.020, 1.0, 0.030),  # loading takes longer than computing everything
        (0.0, 0.0, 1.0, 0.0),
    ],
)
def test_blending_recomputes_what_loading_hides(load_s: float, prefill_s: float, ratio: float, seconds: float) -> None:
    assert blend_ratio(load_s, prefill_s) == pytest.approx(ratio)
    assert blend_s(load_s, prefill_s) == pytest.approx(seconds)
