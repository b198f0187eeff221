"""How much of a cached prefix to load and how much to compute, whichever way the first token comes sooner.

Exact prefixes, from a slower tier or another worker:

    one after the other   T(m) = T_load(m) + T_prefill(n - m after m)      concave in m: all of it or nothing
    layer by layer        T(m) = max(T_load(m), T_prefill(n - m after m))  least where both are equal

    loading beats computing iff   B / G > 2 d s / (gqa (a p d + b d^2))    Mooncake (FAST'25), a = 4, b = 22
    B bytes/s, G FLOP/s, d hidden size, s bytes per element, p prefix tokens

Cached text that is not a prefix (CacheBlend, arXiv 2405.16444) is only approximately right: a share r of its tokens is
computed anew, at least r* = 15 % for quality, more where that is free behind the loading:

    r = min(1, max(T_load / T_prefill(n), r*)),   T = max(T_load, r * T_prefill(n))     [s]
"""

from dataclasses import dataclass

from penstock.core.step_cost import StepCost

MIN_BLEND_RATIO = 0.15


@dataclass(frozen=True, slots=True)
class LoadCost:
    """T_load(m) = base + m * s_per_token: KV bytes per token over the bandwidth of wherever the prefix is."""

    base_s: float
    s_per_token: float

    def seconds(self, num_tokens: int) -> float:
        return self.base_s + self.s_per_token * num_tokens if num_tokens > 0 else 0.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Load the first `num_loaded_tokens`, compute the others; predicted to take `seconds` together."""

    num_loaded_tokens: int
    seconds: float


def plan_load(num_tokens: int, num_stored_tokens: int, cost: StepCost, load: LoadCost) -> LoadPlan:
    """Load the stored prefix and then compute the rest, or compute everything. One token at least is computed."""
    num_stored = max(0, min(num_stored_tokens, num_tokens - 1))
    with_load_s = load.seconds(num_stored) + cost.prefill_s(num_tokens - num_stored, num_stored)
    without_s = cost.prefill_s(num_tokens)
    return LoadPlan(num_stored, with_load_s) if with_load_s < without_s else LoadPlan(0, without_s)


def plan_layered_load(
    num_tokens: int, num_stored_tokens: int, block_size: int, cost: StepCost, load: LoadCost
) -> LoadPlan:
    """Load whole blocks while the rest computes, each layer's load ahead of its compute."""

    def seconds(num_blocks: int) -> float:
        num_loaded = num_blocks * block_size
        return max(load.seconds(num_loaded), cost.prefill_s(num_tokens - num_loaded, num_loaded))

    low, high = 0, max(0, min(num_stored_tokens, num_tokens - 1)) // block_size
    while low < high:  # the longest prefix whose loading hides behind the computing of the rest
        middle = (low + high + 1) // 2
        num_loaded = middle * block_size
        if load.seconds(num_loaded) <= cost.prefill_s(num_tokens - num_loaded, num_loaded):
            low = middle
        else:
            high = middle - 1
    most = max(0, min(num_stored_tokens, num_tokens - 1)) // block_size
    best = min((0, low, min(low + 1, most)), key=seconds)
    return LoadPlan(best * block_size, seconds(best))


def blend_ratio(load_s: float, prefill_s: float, min_ratio: float = MIN_BLEND_RATIO) -> float:
    """CacheBlend's r: the share of reused tokens to compute anew."""
    return min(1.0, max(min_ratio, load_s / prefill_s)) if prefill_s > 0 else 1.0


def blend_s(load_s: float, prefill_s: float, min_ratio: float = MIN_BLEND_RATIO) -> float:
    """Time of a blended prefill; compare with `prefill_s`, that of a full one."""
    return max(load_s, blend_ratio(load_s, prefill_s, min_ratio) * prefill_s)


def break_even_bytes_per_s(
    num_prefix_tokens: int, hidden_size: int, heads_per_kv_head: int, element_bytes: int, flops_per_s: float
) -> float:
    """The bandwidth from which loading a prefix beats computing it, whatever the model's depth."""
    kv = 2 * hidden_size * element_bytes
    compute = heads_per_kv_head * (4 * num_prefix_tokens * hidden_size + 22 * hidden_size**2)
    return flops_per_s * kv / compute
