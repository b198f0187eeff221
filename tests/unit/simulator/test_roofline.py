"""Never faster than the hardware, and shaped like it."""

import pytest

from penstock.simulator.fitted_costs import find_fitted
from penstock.simulator.hardware import find_gpu, find_model
from penstock.simulator.roofline import Roofline

GPU, SHAPE = find_gpu("H200"), find_model("Llama-3-8B")
COST = Roofline(SHAPE, GPU, 1)


def test_a_decode_step_reads_all_weights_and_all_kv() -> None:
    empty_s = COST.decode_s(1, 0)
    assert empty_s >= (SHAPE.weight_bytes - 2 * SHAPE.head_parameters) / GPU.bandwidth_bytes_per_s
    assert COST.decode_s(1, 100_000) - empty_s == pytest.approx(100_000 * 131072 / (4.8e12 * 0.8))


def test_a_long_prompt_is_bound_by_compute_and_grows_faster_than_its_length() -> None:
    one_s, two_s = COST.step_s([(0, 8192)]), COST.step_s([(0, 16384)])
    assert one_s >= 2 * 8192 * 7e9 / GPU.flops
    assert 2.0 < two_s / one_s < 3.0


def test_it_lies_near_what_was_measured() -> None:
    measured = find_fitted("H200", "Llama-3-8B", 1)
    for chunk in (512, 2048, 8192):
        assert COST.step_s([(0, chunk)]) == pytest.approx(measured.step_s([(0, chunk)]), rel=0.25)
    assert COST.decode_s(32, 32 * 1024) == pytest.approx(measured.decode_s(32, 32 * 1024), rel=0.25)


def test_more_gpus_are_faster_but_not_proportionally() -> None:
    alone_s, four_s = COST.decode_s(8, 8192), Roofline(SHAPE, GPU, 4).decode_s(8, 8192)
    assert alone_s / 4 < four_s < alone_s


def test_few_tokens_touch_few_experts() -> None:
    cost = Roofline(find_model("Qwen3-30B-A3B"), GPU, 1)
    assert cost.decode_s(1, 0) < 0.2 * cost.decode_s(128, 0)
