"""A Hugging Face config.json as the shape that costs follow from: any decoder with the usual keys, without torch."""

from collections.abc import Mapping
from typing import Any

from penstock.core.errors import InvalidSettings
from penstock.simulator.hardware import ModelShape

_NOT_GATED = ("opt", "gpt2", "gpt_neox", "bloom", "falcon")  # model types whose FFN has two matrices


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """Raises InvalidSettings naming the key that is missing."""
    num_heads = _integer(config, "num_attention_heads")
    hidden_size = _integer(config, "hidden_size")
    num_experts = config.get("num_experts") or config.get("num_local_experts") or 1
    return ModelShape(
        num_layers=_integer(config, "num_hidden_layers"),
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=int(config.get("num_key_value_heads") or num_heads),
        head_dim=int(config.get("head_dim") or hidden_size // num_heads),
        ffn_size=_integer(config, "moe_intermediate_size", "intermediate_size", "ffn_dim"),
        vocab_size=_integer(config, "vocab_size"),
        num_experts=int(num_experts),
        num_active_experts=int(config.get("num_experts_per_tok") or 1),
        is_gated=config.get("model_type") not in _NOT_GATED,
    )


def _integer(config: Mapping[str, Any], *keys: str) -> int:
    value = next((config[key] for key in keys if config.get(key)), None)
    if not isinstance(value, int):
        raise InvalidSettings("model", "config.json", f"lacks {' or '.join(keys)}")
    return value
