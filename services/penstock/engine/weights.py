"""From the tensors of a checkpoint to a Decoder: what they are called, which shapes they have, which are fused.

q_proj, k_proj, v_proj   -> one qkv product           gate_proj, up_proj -> one gate_up product
q_norm, k_norm           -> one weight per head       experts            -> by expert, however they are stored
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from penstock.engine.checkpoint import VISION, Checkpoint
from penstock.engine.models.config import ModelConfig
from penstock.engine.models.decoder import Decoder, DecoderLayer
from penstock.engine.models.linear import Linear, make_linear
from penstock.engine.models.mlp import DenseMlp, FeedForward, SparseMlp
from penstock.engine.models.norm import RmsNorm

IGNORED_SUFFIXES = ("rotary_emb.inv_freq",)  # old Llama checkpoints store what config.json implies
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ExpertNames:
    """One of the ways in which the experts of a layer are stored."""

    router: str
    gate: str  # {e}: number of the expert
    up: str
    down: str
    is_fused: bool = False  # all experts in one tensor, gate above up


EXPERT_NAMES = (
    ExpertNames(
        "mlp.gate",
        "mlp.experts.{e}.gate_proj.weight",
        "mlp.experts.{e}.up_proj.weight",
        "mlp.experts.{e}.down_proj.weight",
    ),
    ExpertNames(
        "block_sparse_moe.gate",
        "block_sparse_moe.experts.{e}.w1.weight",
        "block_sparse_moe.experts.{e}.w3.weight",
        "block_sparse_moe.experts.{e}.w2.weight",
    ),
    ExpertNames("mlp.gate", "mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj", "mlp.experts.down_proj", True),
)
"""Qwen's, Mixtral's, and the fused form of transformers 5."""


def load_decoder(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> Decoder:
    """Check every tensor's name and shape, then read them all."""
    return _DecoderLoader(checkpoint, dtype, device).load()


def expected_shapes(config: ModelConfig, experts: ExpertNames) -> Shapes:
    """Every tensor a checkpoint of this model must have."""
    shapes: Shapes = {
        "model.embed_tokens.weight": (config.vocab_size, config.hidden_size),
        "model.norm.weight": (config.hidden_size,),
    }
    if not config.has_tied_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, config.hidden_size)
    for layer in range(config.num_layers):
        parts = _attention_shapes(config)
        parts |= _expert_shapes(config, experts) if config.is_sparse(layer) else _mlp_shapes(config)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in parts.items()}
    return shapes


def _attention_shapes(config: ModelConfig) -> Shapes:
    hidden, head_dim = config.hidden_size, config.head_dim
    shapes: Shapes = {"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)}
    for name, num_heads in (("q", config.num_heads), ("k", config.num_kv_heads), ("v", config.num_kv_heads)):
        shapes[f"self_attn.{name}_proj.weight"] = (num_heads * head_dim, hidden)
        if config.has_qkv_bias:
            shapes[f"self_attn.{name}_proj.bias"] = (num_heads * head_dim,)
    shapes["self_attn.o_proj.weight"] = (hidden, config.num_heads * head_dim)
    if config.has_output_bias:
        shapes["self_attn.o_proj.bias"] = (hidden,)
    if config.has_qk_norm:
        shapes |= {"self_attn.q_norm.weight": (head_dim,), "self_attn.k_norm.weight": (head_dim,)}
    return shapes


def _mlp_shapes(config: ModelConfig) -> Shapes:
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: Shapes = {
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    if config.has_mlp_bias:
        shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items()}
    return shapes


def _expert_shapes(config: ModelConfig, names: ExpertNames) -> Shapes:
    assert config.moe is not None
    hidden, inner, count = config.hidden_size, config.moe.intermediate_size, config.moe.num_experts
    shapes: Shapes = {f"{names.router}.weight": (count, hidden)}
    if names.is_fused:
        return shapes | {names.gate: (count, 2 * inner, hidden), names.down: (count, hidden, inner)}
    for e in range(count):
        shapes |= {name.format(e=e): (inner, hidden) for name in (names.gate, names.up)}
        shapes[names.down.format(e=e)] = (hidden, inner)
    return shapes


class _DecoderLoader:
    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        self._checkpoint = checkpoint
        self._config = checkpoint.config
        self._dtype = dtype
        self._device = device
        self._experts = self._expert_names()

    def load(self) -> Decoder:
        config = self._config
        tied = ("lm_head.weight",) if config.has_tied_embeddings else ()
        vision = (VISION,) if config.images is not None else ()
        self._checkpoint.check(expected_shapes(config, self._experts), IGNORED_SUFFIXES + tied, vision)
        embedding = self._take("model.embed_tokens.weight")
        head = embedding if config.has_tied_embeddings else self._take("lm_head.weight")
        layers = [self._layer(layer) for layer in range(config.num_layers)]
        return Decoder(config, embedding, layers, self._norm("model.norm"), make_linear(head))

    def _layer(self, layer: int) -> DecoderLayer:
        config, prefix = self._config, f"model.layers.{layer}"
        qk_norm = None
        if config.has_qk_norm:
            query, key = (self._take(f"{prefix}.self_attn.{name}_norm.weight") for name in "qk")
            by_head = torch.cat((query.expand(config.num_heads, -1), key.expand(config.num_kv_heads, -1)))
            qk_norm = RmsNorm(by_head, config.norm_epsilon)
        return DecoderLayer(
            attention_norm=self._norm(f"{prefix}.input_layernorm"),
            qkv=self._linear([f"{prefix}.self_attn.{name}_proj" for name in "qkv"], config.has_qkv_bias),
            qk_norm=qk_norm,
            output=self._linear([f"{prefix}.self_attn.o_proj"], config.has_output_bias),
            mlp_norm=self._norm(f"{prefix}.post_attention_layernorm"),
            mlp=self._sparse_mlp(prefix) if config.is_sparse(layer) else self._dense_mlp(f"{prefix}.mlp"),
        )

    def _dense_mlp(self, prefix: str) -> FeedForward:
        has_bias = self._config.has_mlp_bias
        gate_up = self._linear([f"{prefix}.gate_proj", f"{prefix}.up_proj"], has_bias)
        return DenseMlp(gate_up, self._linear([f"{prefix}.down_proj"], has_bias))

    def _sparse_mlp(self, prefix: str) -> FeedForward:
        moe, names = self._config.moe, self._experts
        assert moe is not None
        if names.is_fused:
            gate_up, down = self._take(f"{prefix}.{names.gate}"), self._take(f"{prefix}.{names.down}")
            experts = [DenseMlp(make_linear(gate_up[e]), make_linear(down[e])) for e in range(moe.num_experts)]
        else:
            experts = [self._expert(prefix, e) for e in range(moe.num_experts)]
        router = self._linear([f"{prefix}.{names.router}"], has_bias=False)
        return SparseMlp(router, experts, moe.num_experts_per_token, moe.normalizes_weights)

    def _expert(self, prefix: str, e: int) -> DenseMlp:
        gate, up, down = (
            self._take(f"{prefix}.{name.format(e=e)}")
            for name in (self._experts.gate, self._experts.up, self._experts.down)
        )
        return DenseMlp(make_linear(torch.cat((gate, up))), make_linear(down))

    def _linear(self, names: list[str], has_bias: bool) -> Linear:
        """One product out of several; their outputs lie side by side."""
        weight = torch.cat([self._take(f"{name}.weight") for name in names])
        bias = torch.cat([self._take(f"{name}.bias") for name in names]) if has_bias else None
        return make_linear(weight, bias)

    def _norm(self, name: str) -> RmsNorm:
        return RmsNorm(self._take(f"{name}.weight"), self._config.norm_epsilon)

    def _take(self, name: str) -> Tensor:
        return self._checkpoint.tensor(name).to(self._device, self._dtype)

    def _expert_names(self) -> ExpertNames:
        """The way this checkpoint stores its experts; Qwen's where it has none."""
        stored = self._checkpoint.names
        for names in EXPERT_NAMES:
            if any(name.endswith(names.down.format(e=0)) for name in stored):
                return names
        return EXPERT_NAMES[0]
