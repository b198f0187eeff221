"""Sizes that follow from shapes."""

import pytest

from penstock.core.errors import InvalidSettings
from penstock.simulator.hardware import find_gpu, find_model


@pytest.mark.parametrize(
    ("model", "kv_kib_per_token", "weight_gb"),
    [
        ("Llama-3-8B", 128, 16.1),
        ("Llama-3-70B", 320, 141),
        ("Qwen2.5-14B", 192, 29.5),
        ("Qwen3-30B-A3B", 96, 61),
        ("Yi-34B", 240, 68.8),
        ("OPT-13B", 800, 26),
        ("OPT-66B", 2304, 132),
    ],
)
def test_kv_and_weights_are_as_large_as_published(model: str, kv_kib_per_token: int, weight_gb: float) -> None:
    shape = find_model(model)
    assert shape.kv_layout(1, 1).token_bytes == kv_kib_per_token * 1024
    assert shape.weight_bytes / 1e9 == pytest.approx(weight_gb, rel=0.03)


def test_kv_gets_what_weights_leave() -> None:
    shape, gpu = find_model("Llama-3-70B"), find_gpu("H200")
    assert shape.num_kv_tokens(gpu, 1) == 0
    assert shape.num_kv_tokens(gpu, 4) == int((4 * 141e9 * 0.9 - shape.weight_bytes) // (320 * 1024))


def test_expert_coverage_follows_the_measured_curve() -> None:
    shape = find_model("Qwen3-30B-A3B")
    assert shape.expert_coverage(32) == pytest.approx(0.55, abs=0.05)
    assert shape.expert_coverage(128) == pytest.approx(0.863, abs=0.03)
    assert find_model("Llama-3-8B").expert_coverage(1) == 1.0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="H200, H100, A100"):
        find_gpu("B9000")
    with pytest.raises(InvalidSettings, match="Llama-3-8B"):
        find_model("GPT-2")
