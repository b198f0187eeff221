"""Shapes of models and peaks of GPUs, as far as costs and KV sizes follow from them."""

from dataclasses import dataclass

from penstock.core.errors import InvalidSettings
from penstock.core.kv_layout import KvLayout

_BYTES = 2  # bf16 and fp16, of weights and of KV
_MEMORY_SHARE = 0.9  # of a GPU's memory that weights and KV may take; the rest is activations and the runtime's
_COVERAGE_EXPONENT = 0.7


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder. Dense models have one expert; `is_gated` FFNs have three matrices, others two."""

    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int  # of one expert
    vocab_size: int
    num_experts: int = 1
    num_active_experts: int = 1
    is_gated: bool = True

    @property
    def attention_parameters(self) -> int:
        """Of one layer: Q, K, V and output projections."""
        return self.hidden_size * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)

    @property
    def expert_parameters(self) -> int:
        """Of one expert of one layer."""
        return (3 if self.is_gated else 2) * self.hidden_size * self.ffn_size

    @property
    def head_parameters(self) -> int:
        return self.hidden_size * self.vocab_size

    @property
    def weight_bytes(self) -> int:
        """Embedding and head counted apart."""
        per_layer = self.attention_parameters + self.num_experts * self.expert_parameters
        return _BYTES * (self.num_layers * per_layer + 2 * self.head_parameters)

    def expert_coverage(self, num_tokens: int) -> float:
        """Share of a layer's experts that `num_tokens` tokens touch: 1 - (1 - k/E)^(n^0.7).

        Independent routing would have n instead of n^0.7; the exponent is mine, chosen to pass near the measured
        55 % at 32 and 86 % at 128 tokens for k/E = 1/16 (Layered Prefill, arXiv 2510.08055): it gives 52 % and 85 %.
        """
        if self.num_experts == 1:
            return 1.0
        return float(1 - (1 - self.num_active_experts / self.num_experts) ** (num_tokens**_COVERAGE_EXPONENT))

    def expert_bytes(self, num_tokens: int) -> float:
        """Expert weights that a pass of `num_tokens` tokens through all layers reads; of a dense model none count."""
        if self.num_experts == 1 or not num_tokens:
            return 0.0
        touched = self.num_experts * self.expert_coverage(num_tokens)
        return _BYTES * self.num_layers * touched * self.expert_parameters

    def kv_layout(self, num_blocks: int, block_size: int) -> KvLayout:
        """The KV of one worker, all its ranks together."""
        return KvLayout(
            self.num_layers, self.num_kv_heads, self.head_dim, block_size, num_blocks, _BYTES, dtype="bfloat16"
        )

    def num_kv_tokens(self, gpu: "Gpu", num_gpus: int) -> int:
        """Tokens whose KV fits beside the weights on the GPUs of one worker."""
        spare_bytes = gpu.memory_bytes * num_gpus * _MEMORY_SHARE - self.weight_bytes
        return max(0, int(spare_bytes // self.kv_layout(1, 1).token_bytes))


@dataclass(frozen=True, slots=True)
class Gpu:
    """Peaks of one GPU (dense bf16), and which share of them large kernels reach."""

    flops: float
    bandwidth_bytes_per_s: float
    memory_bytes: float
    link_bytes_per_s: float = 450e9  # to peers of the same worker, one direction
    flops_share: float = 0.75
    bandwidth_share: float = 0.8


GPUS = {
    "H200": Gpu(989e12, 4.8e12, 141e9),
    "H100": Gpu(989e12, 3.35e12, 80e9),
    "A100": Gpu(312e12, 2.0e12, 80e9, link_bytes_per_s=300e9),
    "A10": Gpu(125e12, 0.6e12, 24e9, link_bytes_per_s=25e9),
}

MODELS = {
    "Llama-3-8B": ModelShape(32, 4096, 32, 8, 128, 14336, 128256),
    "Llama-3-70B": ModelShape(80, 8192, 64, 8, 128, 28672, 128256),
    "Qwen2.5-7B": ModelShape(28, 3584, 28, 4, 128, 18944, 152064),
    "Qwen2.5-14B": ModelShape(48, 5120, 40, 8, 128, 13824, 152064),
    "Qwen2.5-32B": ModelShape(64, 5120, 40, 8, 128, 27648, 152064),
    "Qwen3-8B": ModelShape(36, 4096, 32, 8, 128, 12288, 151936),
    "Qwen3-30B-A3B": ModelShape(48, 2048, 32, 4, 128, 768, 151936, num_experts=128, num_active_experts=8),
    "Mistral-7B": ModelShape(32, 4096, 32, 8, 128, 14336, 32000),
    "Yi-34B": ModelShape(60, 7168, 56, 8, 128, 20480, 64000),
    "OPT-13B": ModelShape(40, 5120, 40, 40, 128, 20480, 50272, is_gated=False),
    "OPT-66B": ModelShape(64, 9216, 72, 72, 128, 36864, 50272, is_gated=False),
}


def find_gpu(name: str) -> Gpu:
    if name not in GPUS:
        raise InvalidSettings("gpu", name, f"must be one of {', '.join(GPUS)}, or give `gpu_peaks`")
    return GPUS[name]


def find_model(name: str) -> ModelShape:
    if name not in MODELS:
        raise InvalidSettings("model", name, f"must be one of {', '.join(MODELS)}, or give `model_shape`")
    return MODELS[name]
