"""Step times from first principles: the longer of computing and of reading, part by part.

    linear       max(2 * active parameters * tokens / FLOPs,  weights touched / bandwidth)
    attention    prompt: 4 * heads * head_dim * (query, key) pairs / FLOPs;  decode: KV read / bandwidth
    all-reduce   two per layer: 2 (tp-1)/tp * bytes / link + latency

After "Challenges in Deploying Long-Context Transformers" (arXiv 2405.08944), with achievable shares of the peaks.
"""

from collections.abc import Iterable

from penstock.simulator.hardware import Gpu, ModelShape

_BYTES = 2
_ALL_REDUCE_S = 1e-5  # latency of one small all-reduce over NVLink


class Roofline:
    """A CostModel of one worker of `tp` GPUs."""

    def __init__(self, shape: ModelShape, gpu: Gpu, tp: int) -> None:
        self._shape = shape
        self._tp = tp
        self._flops = gpu.flops * gpu.flops_share * tp
        self._bandwidth = gpu.bandwidth_bytes_per_s * gpu.bandwidth_share * tp
        self._link = gpu.link_bytes_per_s
        self._kv_bytes = shape.kv_layout(1, 1).token_bytes
        attention, expert = shape.attention_parameters, shape.expert_parameters
        self._flops_per_token = 2 * shape.num_layers * (attention + shape.num_active_experts * expert)
        self._flops_per_pair = 4 * shape.num_layers * shape.num_heads * shape.head_dim
        self._linear_s: dict[tuple[int, int], float] = {}

    def step_s(self, chunks: Iterable[tuple[int, int]], num_decodes: int = 0, num_context_tokens: int = 0) -> float:
        """See CostModel."""
        num_tokens = num_chunks = 0
        num_pairs = 0.0
        for num_computed, num_new in chunks:
            num_tokens, num_chunks = num_tokens + num_new, num_chunks + 1
            num_pairs += num_new * (num_computed + num_new / 2)  # causal
        prompt_attention_s = num_pairs * self._flops_per_pair / self._flops
        return self._linear(num_tokens + num_decodes, num_chunks + num_decodes) + (
            prompt_attention_s + num_context_tokens * self._kv_bytes / self._bandwidth
        )

    def decode_s(self, num_sequences: int, num_context_tokens: int) -> float:
        """See CostModel."""
        return self._linear(num_sequences, num_sequences) + num_context_tokens * self._kv_bytes / self._bandwidth

    def _linear(self, num_tokens: int, num_sampled: int) -> float:
        """All but attention, remembered: decode batches repeat."""
        key = (num_tokens, num_sampled)
        if key not in self._linear_s:
            if len(self._linear_s) > 10_000:
                self._linear_s.clear()
            self._linear_s[key] = self._compute_linear(num_tokens, num_sampled)
        return self._linear_s[key]

    def _compute_linear(self, num_tokens: int, num_sampled: int) -> float:
        shape = self._shape
        touched = shape.num_experts * shape.expert_coverage(num_tokens) * shape.expert_parameters
        read_bytes = _BYTES * (shape.num_layers * (shape.attention_parameters + touched) + shape.head_parameters)
        flops = self._flops_per_token * num_tokens + 2 * shape.head_parameters * num_sampled
        return max(flops / self._flops, read_bytes / self._bandwidth) + self._all_reduces(num_tokens)

    def _all_reduces(self, num_tokens: int) -> float:
        if self._tp == 1:
            return 0.0
        moved_bytes = 2 * (self._tp - 1) / self._tp * num_tokens * self._shape.hidden_size * _BYTES
        return 2 * self._shape.num_layers * (_ALL_REDUCE_S + moved_bytes / self._link)
