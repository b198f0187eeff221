"""Step times composed of measured operators: GEMM, attention, experts, all-reduce.

Reads the bf16 tables of NVIDIA's aiconfigurator (Apache-2.0) as gzipped CSV, `GPU_sxm__OPERATOR.csv.gz`, latencies in
milliseconds; the README says where they come from. Between measured points time is linear in tokens, heads and context.
Norms and activations are priced by bandwidth plus 3 us each.
"""

import csv
import gzip
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from penstock.core.errors import InvalidSettings
from penstock.simulator.hardware import Gpu, ModelShape

_BYTES = 2
_KERNEL_S = 3e-6
_ROUTING = "power_law_1.01"  # the tables' more realistic expert load

Row = Mapping[str, str]
Curve = tuple[list[int], list[float]]


def interpolate(curve: Curve, at: float) -> float:
    """Linear between points, the first value before them, proportional beyond the last."""
    positions, values = curve
    if at <= positions[0]:
        return values[0]
    if at >= positions[-1]:
        return values[-1] * at / positions[-1]
    right = bisect_left(positions, at)
    left_at, right_at = positions[right - 1], positions[right]
    share = (at - left_at) / (right_at - left_at)
    return values[right - 1] * (1 - share) + values[right] * share


def _neighbours(at: int, positions: list[int]) -> tuple[int, int]:
    right = min(bisect_left(positions, at), len(positions) - 1)
    high = positions[right]
    return (high if high <= at or right == 0 else positions[right - 1]), high


class OperatorTables:
    """One GPU's tables, in seconds."""

    def __init__(self, folder: Path, gpu: str) -> None:
        self._prefix = folder / f"{gpu.lower()}_sxm__"
        self._gemm = self._curves("gemm", ("n", "k"), "m")
        attention = ("num_heads", "num_key_value_heads", "head_dim", "batch_size")
        self._context = self._curves("context_attention", attention, "isl", where={"window_size": "0"})
        self._generation = self._curves("generation_attention", attention, "step", where={"window_size": "0"})
        experts = ("hidden_size", "inter_size", "topk", "num_experts")
        only = {"moe_tp_size": "1", "moe_ep_size": "1", "distribution": _ROUTING}
        self._experts = self._curves("moe", experts, "num_tokens", where=only)
        self._all_reduce = self._curves("custom_allreduce", ("num_gpus",), "message_size")
        self._batch_sizes: dict[tuple[int, ...], list[int]] = {
            key: sorted({other[3] for other in self._generation if other[1:3] == key})
            for key in {key[1:3] for key in self._generation}
        }
        self._gemm_n, self._gemm_k = (sorted({key[axis] for key in self._gemm}) for axis in (0, 1))

    def gemm_s(self, m: int, n: int, k: int) -> float:
        """[m, k] x [k, n], bilinear in n and k."""
        low_n, high_n = _neighbours(n, self._gemm_n)
        low_k, high_k = _neighbours(k, self._gemm_k)

        def along_n(k: int) -> float:
            low_s = interpolate(self._gemm[low_n, k], m)
            if low_n == high_n:
                return low_s * max(1.0, n / high_n)
            return low_s + (interpolate(self._gemm[high_n, k], m) - low_s) * (n - low_n) / (high_n - low_n)

        low_s = along_n(low_k)
        return low_s if low_k == high_k else low_s + (along_n(high_k) - low_s) * (k - low_k) / (high_k - low_k)

    def context_attention_s(self, heads: tuple[int, int, int], num_tokens: float) -> float:
        """A whole prompt alone; `heads` are (query heads, KV heads, head_dim)."""
        return self._between_heads(self._context, heads, 1, num_tokens)

    def generation_attention_s(self, heads: tuple[int, int, int], num_sequences: int, context_tokens: float) -> float:
        """A decode batch of equal contexts, linear between measured batch sizes."""
        sizes = self._batch_sizes.get(heads[1:])
        if sizes is None:
            raise self._missing("generation_attention", heads)
        low, high = _neighbours(num_sequences, sizes)
        low_s = self._between_heads(self._generation, heads, low, context_tokens)
        if low == high:
            return low_s * max(1.0, num_sequences / high)
        high_s = self._between_heads(self._generation, heads, high, context_tokens)
        return low_s + (high_s - low_s) * (num_sequences - low) / (high - low)

    def experts_s(self, shape: ModelShape, num_tokens: int) -> float:
        """All routed experts of one layer."""
        key = (shape.hidden_size, shape.ffn_size, shape.num_active_experts, shape.num_experts)
        if key not in self._experts:
            raise self._missing("moe", key)
        return interpolate(self._experts[key], num_tokens)

    def all_reduce_s(self, tp: int, num_elements: int) -> float:
        if (tp,) not in self._all_reduce:
            raise self._missing("custom_allreduce", (tp,))
        return interpolate(self._all_reduce[tp,], num_elements)

    def _between_heads(
        self, curves: dict[tuple[int, ...], Curve], heads: tuple[int, int, int], batch: int, at: float
    ) -> float:
        num_heads, *others = heads
        known = sorted({key[0] for key in curves if key[1:] == (*others, batch)})
        if not known:
            raise self._missing("attention", (*heads, batch))
        low, high = _neighbours(num_heads, known)
        low_s = interpolate(curves[low, others[0], others[1], batch], at)
        if low == high:
            return low_s
        high_s = interpolate(curves[high, others[0], others[1], batch], at)
        return low_s + (high_s - low_s) * (num_heads - low) / (high - low)

    def _curves(
        self, operator: str, keys: tuple[str, ...], along: str, where: Mapping[str, str] | None = None
    ) -> dict[tuple[int, ...], Curve]:
        points: dict[tuple[int, ...], dict[int, float]] = defaultdict(dict)
        for row in self._rows(operator):
            if all(row.get(name, value) == value for name, value in (where or {}).items()) and _is_graphed(row):
                points[tuple(int(row[key]) for key in keys)][int(row[along])] = float(row["latency"]) / 1000
        return {key: (sorted(curve), [curve[at] for at in sorted(curve)]) for key, curve in points.items()}

    def _rows(self, operator: str) -> Iterable[Row]:
        path = self._prefix.with_name(f"{self._prefix.name}{operator}.csv.gz")
        try:
            with gzip.open(path, "rt", encoding="utf8") as lines:
                yield from csv.DictReader(lines)
        except OSError as error:
            raise InvalidSettings("cost.tables", str(path), f"cannot be read: {error.strerror or error}") from error

    def _missing(self, operator: str, key: tuple[int, ...]) -> InvalidSettings:
        return InvalidSettings("cost.tables", str(self._prefix), f"holds no {operator} of {key}")


def _is_graphed(row: Row) -> bool:
    """Of all-reduces, those inside CUDA graphs; every other operator."""
    return "eager" not in row.get("backend", "")


class OperatorCosts:
    """A CostModel of one worker of `tp` GPUs. What repeats is remembered: linear parts by tokens rounded up to 8."""

    def __init__(self, tables: OperatorTables, shape: ModelShape, gpu: Gpu, tp: int) -> None:
        self._tables = tables
        self._shape = shape
        self._tp = tp
        self._bandwidth = gpu.bandwidth_bytes_per_s * gpu.bandwidth_share
        self._heads = (shape.num_heads // tp, max(1, shape.num_kv_heads // tp), shape.head_dim)
        self._linear_s: dict[int, float] = {}
        self._generation_s: dict[tuple[int, int], float] = {}

    def step_s(self, chunks: Iterable[tuple[int, int]], num_decodes: int = 0, num_context_tokens: int = 0) -> float:
        """See CostModel. A chunk's attention is what is left of its prompt's once the computed part is paid."""
        num_tokens, attention_s = 0, 0.0
        for num_computed, num_new in chunks:
            num_tokens += num_new
            attention_s += self._tables.context_attention_s(self._heads, num_computed + num_new)
            if num_computed:
                attention_s -= self._tables.context_attention_s(self._heads, num_computed)
        attention_s *= self._shape.num_layers
        return self._linear(num_tokens + num_decodes) + attention_s + self._generation(num_decodes, num_context_tokens)

    def decode_s(self, num_sequences: int, num_context_tokens: int) -> float:
        """See CostModel."""
        return self._linear(num_sequences) + self._generation(num_sequences, num_context_tokens)

    def _generation(self, num_sequences: int, num_context_tokens: int) -> float:
        if not num_sequences:
            return 0.0
        mean = num_context_tokens // num_sequences // 16 * 16 + 8
        key = (num_sequences, mean)
        if key not in self._generation_s:
            if len(self._generation_s) > 100_000:
                self._generation_s.clear()
            one_layer_s = self._tables.generation_attention_s(self._heads, num_sequences, mean)
            self._generation_s[key] = self._shape.num_layers * one_layer_s
        return self._generation_s[key]

    def _linear(self, num_tokens: int) -> float:
        rounded = -(-num_tokens // 8) * 8 if num_tokens > 8 else num_tokens
        if rounded not in self._linear_s:
            layers_s = self._shape.num_layers * self._layer_s(rounded)
            head_s = self._tables.gemm_s(1, self._shape.vocab_size // self._tp, self._shape.hidden_size)
            self._linear_s[rounded] = layers_s + head_s
        return self._linear_s[rounded]

    def _layer_s(self, num_tokens: int) -> float:
        shape, tables, hidden = self._shape, self._tables, self._shape.hidden_size
        query, key_value, head_dim = self._heads
        layer_s = tables.gemm_s(num_tokens, (query + 2 * key_value) * head_dim, hidden)
        layer_s += tables.gemm_s(num_tokens, hidden, query * head_dim)
        layer_s += 2 * (num_tokens * hidden * _BYTES * 4 / self._bandwidth + _KERNEL_S)  # norms and residuals
        if self._tp > 1:
            layer_s += 2 * tables.all_reduce_s(self._tp, num_tokens * hidden)
        if shape.num_experts > 1:
            return layer_s + tables.experts_s(shape, num_tokens) + tables.gemm_s(num_tokens, shape.num_experts, hidden)
        ffn = shape.ffn_size // self._tp
        layer_s += tables.gemm_s(num_tokens, (2 if shape.is_gated else 1) * ffn, hidden)
        layer_s += tables.gemm_s(num_tokens, hidden, ffn)
        return layer_s + num_tokens * ffn * _BYTES * 3 / self._bandwidth + _KERNEL_S
