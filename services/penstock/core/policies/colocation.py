"""What offline work may run where while online work keeps its objectives: xLLM's latency-constrained decoupling.

xLLM (technical report, arXiv 2510.14686, section 3.3). Prefill workers are the latency-relaxed pool, decode workers the
latency-strict one; offline sequences (negative priority) may decode in either:

    relaxed   online prefill, else offline prefill while num_offline_decodes < saturated batch, else offline decode;
              an online arrival interrupts a running offline step at its next layer boundary (`should_interrupt`)
    strict    online first, offline while T_decode <= 0.98 * TPOT_SLO (`policies.decode_admission`); with room left it
              asks a relaxed worker for offline decodes of the length that fits best (`pull`, `choose_handovers`)

    saturated batch  the smallest n at which every linear layer is bound by compute, from the roofline:
                     2 i o n / (element_bytes (n i + i o + n o)) >= F / B    for layers [i, o]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf

from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence


class Work(StrEnum):
    """What a relaxed worker's next step is for."""

    ONLINE_PREFILL = "online_prefill"
    OFFLINE_PREFILL = "offline_prefill"
    OFFLINE_DECODE = "offline_decode"


@dataclass(frozen=True, slots=True)
class StrictBound:
    """When a strict worker has room for more: memory and step time below these shares, xLLM's 0.9 each."""

    tpot_slo_s: float
    saturated_batch: int
    max_memory_share: float = 0.9
    max_time_share: float = 0.9


@dataclass(frozen=True, slots=True)
class StrictLoad:
    """A strict worker's batch and memory."""

    num_sequences: int
    num_context_tokens: int
    num_free_tokens: int
    num_kv_tokens: int  # that its memory holds in all
    last_step_s: float


@dataclass(frozen=True, slots=True)
class Pull:
    """A strict worker's wish: at most `max_tokens` in all, sequences of `preferred_tokens` rather than others."""

    max_tokens: int
    preferred_tokens: int


def saturated_batch_of(layers: Iterable[tuple[int, int]], flops_per_byte: float, element_bytes: int = 2) -> float:
    """Fewest sequences at which every linear layer [in, out] is bound by compute; infinity when one never is."""
    most = 1.0
    for num_in, num_out in layers:
        # 2 i o n >= R e (n (i + o) + i o)   <=>   n >= R e i o / (2 i o - R e (i + o))
        ridge = flops_per_byte * element_bytes
        spare = 2 * num_in * num_out - ridge * (num_in + num_out)
        most = max(most, ceil(ridge * num_in * num_out / spare - 1e-9) if spare > 0 else inf)
    return most


def next_work(
    num_online_prompts: int, num_offline_prompts: int, num_offline_decodes: int, saturated_batch: float
) -> Work | None:
    """What a relaxed worker runs next; a batch is all online or all offline. None when there is nothing."""
    if num_online_prompts:
        return Work.ONLINE_PREFILL
    if num_offline_prompts and num_offline_decodes < saturated_batch:
        return Work.OFFLINE_PREFILL
    return Work.OFFLINE_DECODE if num_offline_decodes else None


def should_interrupt(running: Work, num_online_prompts: int) -> bool:
    """Whether a relaxed worker's step ends at its next layer boundary, its prompts to be queued anew."""
    return running is not Work.ONLINE_PREFILL and num_online_prompts > 0


def pull(load: StrictLoad, cost: StepCost, bound: StrictBound) -> Pull | None:
    """What to ask a relaxed worker for, if there is room.

    Preferred is the length with which filling the batch up to the saturated one just meets the objective: k more
    sequences of l tokens with T_decode(n + k, context + k l) = TPOT_SLO. The original bisects; it is linear in l.
    """
    memory_share = 1.0 - load.num_free_tokens / load.num_kv_tokens
    if memory_share >= bound.max_memory_share or load.last_step_s >= bound.max_time_share * bound.tpot_slo_s:
        return None
    num_more = max(1, bound.saturated_batch - load.num_sequences)
    without_s = cost.decode_s(load.num_sequences + num_more, load.num_context_tokens)
    spare_s = bound.tpot_slo_s - without_s
    if spare_s <= 0:
        return None
    each_s = num_more * cost.decode_s_per_context_token
    preferred = int(spare_s / each_s) if each_s > 0 else load.num_free_tokens
    return Pull(load.num_free_tokens, min(preferred, load.num_free_tokens))


def choose_handovers(offline: Iterable[Sequence], wish: Pull, max_sequences: int = 1) -> tuple[Sequence, ...]:
    """Offline decodes a relaxed worker hands over: of lengths closest to the preferred one, while they fit."""
    chosen: list[Sequence] = []
    num_left = wish.max_tokens
    for sequence in sorted(offline, key=lambda s: (abs(s.num_tokens - wish.preferred_tokens), s.arrived_s)):
        if len(chosen) == max_sequences:
            break
        if sequence.num_tokens <= num_left:
            chosen.append(sequence)
            num_left -= sequence.num_tokens
    return tuple(chosen)
