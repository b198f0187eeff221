"""Hugging Face configs as shapes."""

import pytest

from penstock.core.errors import InvalidSettings
from penstock.simulator.hardware import MODELS
from penstock.simulator.model_config import shape_of

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
QWEN_MOE = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}
OPT = {
    "model_type": "opt",
    "num_hidden_layers": 40,
    "hidden_size": 5120,
    "num_attention_heads": 40,
    "ffn_dim": 20480,
    "vocab_size": 50272,
}


@pytest.mark.parametrize(("config", "name"), [(LLAMA, "Llama-3-8B"), (QWEN_MOE, "Qwen3-30B-A3B"), (OPT, "OPT-13B")])
def test_a_config_has_the_shape_of_the_model_it_is_of(config: dict[str, object], name: str) -> None:
    assert shape_of(config) == MODELS[name]


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InvalidSettings, match="num_hidden_layers"):
        shape_of({"hidden_size": 8, "num_attention_heads": 2})
