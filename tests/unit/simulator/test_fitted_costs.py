"""The shipped fits, against the tables they were taken from."""

import pytest

from penstock.core.errors import InvalidSettings
from penstock.simulator.fitted_costs import find_fitted


@pytest.mark.parametrize(
    ("gpu", "model", "tp", "prefill_2048_ms", "decode_32_ms"),  # measured, not fitted: 1,024 tokens of context each
    [
        ("H200", "Llama-3-8B", 1, 45.1, 6.4),
        ("H200", "Llama-3-70B", 4, 127, 13.5),
        ("H100", "Llama-3-8B", 1, 42.1, 8.4),
        ("A100", "Qwen2.5-14B", 1, 216, 26.5),
        ("H200", "Qwen3-30B-A3B", 1, 37.7, 15.9),
    ],
)
def test_fits_stay_near_the_measurements(
    gpu: str, model: str, tp: int, prefill_2048_ms: float, decode_32_ms: float
) -> None:
    cost = find_fitted(gpu, model, tp)
    assert 1000 * cost.step_s([(0, 2048)]) == pytest.approx(prefill_2048_ms, rel=0.08)
    assert 1000 * cost.decode_s(32, 32 * 1024) == pytest.approx(decode_32_ms, rel=0.08)


def test_the_regime_follows_the_batch() -> None:
    cost = find_fitted("A100", "OPT-13B", 1, "distserve")  # fitted apart below and from 95 sequences
    assert 1000 * cost.decode_s(94, 0) == pytest.approx(19.9347 + 94 * 0.038507, rel=1e-4)
    assert 1000 * cost.decode_s(95, 0) == pytest.approx(7.16619 + 95 * 0.158311, rel=1e-4)


def test_a_mixture_of_experts_passes_through_its_measured_points() -> None:
    cost = find_fitted("H200", "Qwen3-30B-A3B", 1)
    for num_sequences, measured_ms in ((1, 4.1), (8, 9.5), (64, 18.0), (128, 20.8)):
        assert 1000 * cost.decode_s(num_sequences, num_sequences * 1024) == pytest.approx(measured_ms, rel=0.01)


def test_chunks_pay_the_base_once_each_and_the_attention_once_in_all() -> None:
    cost = find_fitted("H200", "Llama-3-8B", 1)
    whole_s, halves_s = cost.step_s([(0, 4096)]), cost.step_s([(0, 2048)]) + cost.step_s([(2048, 2048)])
    assert 1000 * (halves_s - whole_s) == pytest.approx(2.81)


def test_an_unknown_pair_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidSettings, match="H200 Llama-3-70B tp=4"):
        find_fitted("H200", "Llama-3-70B", 3)
