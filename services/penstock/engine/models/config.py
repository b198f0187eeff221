"""A Hugging Face config.json, parsed once into what our decoder needs; anything it cannot honour is refused here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import UnsupportedModel
from penstock.engine.models.image_input import ImageInput, parse_image_input
from penstock.engine.models.language_part import language_part
from penstock.engine.models.rope import RopeConfig, parse_rope


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """The sparse layers of a mixture of experts."""

    num_experts: int
    num_experts_per_token: int
    intermediate_size: int  # of one expert
    normalizes_weights: bool  # the chosen experts' weights are scaled to sum to one
    layers: frozenset[int]  # which layers are sparse


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One decoder-only model of the Llama family."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_epsilon: float
    max_context_tokens: int
    rope: RopeConfig
    windows: tuple[int, ...]  # per layer, as in AttentionGeometry
    dtype: str  # of the checkpoint: float32, bfloat16 or float16
    eos_token_ids: frozenset[int]
    has_tied_embeddings: bool = False
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_mlp_bias: bool = False
    has_qk_norm: bool = False
    moe: MoeConfig | None = None
    images: ImageInput | None = None  # None: the model takes no images

    def is_sparse(self, layer: int) -> bool:
        return self.moe is not None and layer in self.moe.layers


@dataclass(frozen=True, slots=True)
class _Architecture:
    """Where an architecture departs from Llama when its config.json is silent."""

    has_qkv_bias: bool | None = False  # None: as `attention_bias` says
    has_output_bias: bool | None = False  # None: as `attention_bias` says
    reads_mlp_bias: bool = False
    has_qk_norm: bool = False
    windows: str = "all"  # which layers `sliding_window` is for: none, all, or those from max_window_layers on (upper)
    has_window_switch: bool = False  # a sliding_window counts only when use_sliding_window says so
    default_window: int = 0
    default_head_dim: int = 0  # 0: hidden_size / num_heads
    default_theta: float = 10000.0
    default_norm_epsilon: float = 1e-6
    takes_images: bool = False
    experts_key: str = ""  # of a mixture of experts: where its number of experts stands


ARCHITECTURES: Mapping[str, _Architecture] = {
    "LlamaForCausalLM": _Architecture(has_qkv_bias=None, has_output_bias=None, reads_mlp_bias=True, windows="none"),
    "MistralForCausalLM": _Architecture(default_window=4096),
    "Qwen2ForCausalLM": _Architecture(has_qkv_bias=True, windows="upper", has_window_switch=True, default_window=4096),
    "Qwen2_5_VLForConditionalGeneration": _Architecture(
        has_qkv_bias=True,
        windows="upper",
        has_window_switch=True,
        default_window=4096,
        default_theta=1e6,
        default_norm_epsilon=1e-5,
        takes_images=True,
    ),
    "Qwen3ForCausalLM": _Architecture(
        has_qkv_bias=None,
        has_output_bias=None,
        has_qk_norm=True,
        windows="upper",
        has_window_switch=True,
        default_window=4096,
        default_head_dim=128,
    ),
    "Qwen3MoeForCausalLM": _Architecture(
        has_qkv_bias=None,
        has_output_bias=None,
        has_qk_norm=True,
        has_window_switch=True,
        default_window=4096,
        experts_key="num_experts",
    ),
    "MixtralForCausalLM": _Architecture(default_theta=1e6, default_norm_epsilon=1e-5, experts_key="num_local_experts"),
}
"""Every architecture there is support for, by its name in config.json."""

DTYPES = ("float32", "bfloat16", "float16")


def parse_config(raw: Mapping[str, Any], generation: Mapping[str, Any] | None = None) -> ModelConfig:
    """Read config.json and generation_config.json, or raise UnsupportedModel with what is wrong."""
    name, architecture = _architecture(raw)
    raw = language_part(raw) if architecture.takes_images else raw
    if "quantization_config" in raw:
        raise UnsupportedModel(f"{name}: quantised checkpoints are not supported; use one in {', '.join(DTYPES)}.")
    if (activation := raw.get("hidden_act", "silu")) not in ("silu", "swish"):
        raise UnsupportedModel(f"{name} with hidden_act={activation!r} is not supported; only 'silu' is.")
    hidden_size, num_heads = _required(raw, "hidden_size"), _required(raw, "num_attention_heads")
    num_layers = _required(raw, "num_hidden_layers")
    head_dim = raw.get("head_dim") or architecture.default_head_dim or hidden_size // num_heads
    num_kv_heads = raw.get("num_key_value_heads") or num_heads
    if num_heads % num_kv_heads or head_dim % 2:
        raise UnsupportedModel(f"{name}: {num_heads} heads, {num_kv_heads} KV heads of {head_dim} do not fit together.")
    attention_bias = bool(raw.get("attention_bias", False))
    rope = parse_rope(raw, architecture.default_theta)
    return ModelConfig(
        architecture=name,
        vocab_size=_required(raw, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=_required(raw, "intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        norm_epsilon=float(raw.get("rms_norm_eps") or architecture.default_norm_epsilon),
        max_context_tokens=rope.max_context_tokens,
        rope=rope,
        windows=_windows(raw, architecture, num_layers),
        dtype=parse_dtype(name, raw),
        eos_token_ids=_eos_token_ids(raw, generation or {}),
        has_tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        has_qkv_bias=attention_bias if architecture.has_qkv_bias is None else architecture.has_qkv_bias,
        has_output_bias=attention_bias if architecture.has_output_bias is None else architecture.has_output_bias,
        has_mlp_bias=architecture.reads_mlp_bias and bool(raw.get("mlp_bias", False)),
        has_qk_norm=architecture.has_qk_norm,
        moe=_moe(raw, architecture, num_layers),
        images=parse_image_input(raw, hidden_size, head_dim) if architecture.takes_images else None,
    )


def _architecture(raw: Mapping[str, Any]) -> tuple[str, _Architecture]:
    names = raw.get("architectures") or [f"model_type {raw.get('model_type', 'unknown')}"]
    for name in names:
        if name in ARCHITECTURES:
            return name, ARCHITECTURES[name]
    raise UnsupportedModel(
        f"The architecture {', '.join(map(str, names))} is not supported; supported are {', '.join(ARCHITECTURES)}."
    )


def _required(raw: Mapping[str, Any], key: str) -> int:
    value = raw.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise UnsupportedModel(f"config.json has {key}={value!r}; a positive whole number is needed.")
    return value


def _windows(raw: Mapping[str, Any], architecture: _Architecture, num_layers: int) -> tuple[int, ...]:
    """Per layer; config.json's own `layer_types` wins where the architecture reads them."""
    window = int(raw.get("sliding_window", architecture.default_window) or 0)
    is_off = architecture.has_window_switch and not raw.get("use_sliding_window", False)
    if architecture.windows == "none" or is_off:
        return (0,) * num_layers
    if architecture.windows == "all":
        return (window,) * num_layers
    if layer_types := raw.get("layer_types"):
        return tuple(window if kind == "sliding_attention" else 0 for kind in layer_types)
    first = int(raw.get("max_window_layers", 28))
    return tuple(window if layer >= first else 0 for layer in range(num_layers))


def parse_dtype(name: str, raw: Mapping[str, Any]) -> str:
    """Of the weights, as config.json names it."""
    dtype = str(raw.get("dtype") or raw.get("torch_dtype") or "float32").removeprefix("torch.")
    if dtype not in DTYPES:
        raise UnsupportedModel(f"{name} in {dtype} is not supported; supported are {', '.join(DTYPES)}.")
    return dtype


def _eos_token_ids(raw: Mapping[str, Any], generation: Mapping[str, Any]) -> frozenset[int]:
    """generation_config.json wins, as in transformers: chat models name their end-of-turn tokens only there."""
    ids = generation.get("eos_token_id", raw.get("eos_token_id"))
    if ids is None:
        return frozenset()
    return frozenset(ids) if isinstance(ids, list) else frozenset({int(ids)})


def _moe(raw: Mapping[str, Any], architecture: _Architecture, num_layers: int) -> MoeConfig | None:
    if not architecture.experts_key:
        return None
    # transformers 5 writes Mixtral's name for both architectures, older releases each its own
    key = next((key for key in (architecture.experts_key, "num_local_experts", "num_experts") if key in raw), "")
    step = int(raw.get("decoder_sparse_step", 1))
    dense = set(raw.get("mlp_only_layers") or ())
    is_qwen = architecture.experts_key == "num_experts"
    return MoeConfig(
        num_experts=_required(raw, key or architecture.experts_key),
        num_experts_per_token=_required(raw, "num_experts_per_tok"),
        intermediate_size=_required(raw, "moe_intermediate_size" if is_qwen else "intermediate_size"),
        normalizes_weights=bool(raw.get("norm_topk_prob", False)) if is_qwen else True,
        layers=frozenset(i for i in range(num_layers) if i not in dense and step > 0 and (i + 1) % step == 0),
    )
