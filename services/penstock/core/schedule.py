"""How a worker composes its steps: one choice of the policies in `core.policies` that act inside a worker.

    batching      what a step is made of beside its decodes     policies.batching, prefill_first, layered_prefill
    order         which prompts come first                      policies.prefill_order, prefill_batch, fairness
    tpot_slo_s    how long a step with decodes may take         policies.chunk_budget, decode_admission
    preemption    whether prompts yield between two layers      policies.prefill_preemption
    swap          who is on the device when not all fit         policies.victims, swap, block_groups

The default is what a live worker runs: stall-free steps, the most urgent prompt first, and layer-boundary preemption.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from penstock.core.policies.batching import BatchLimits
from penstock.core.policies.chunk_budget import BudgetLimits
from penstock.core.policies.layered_prefill import LayeringLimits
from penstock.core.policies.prefill_preemption import PreemptionGuards
from penstock.core.residency import SwapRules


class Batching(StrEnum):
    """What a step holds beside its decodes."""

    STALL_FREE = "stall_free"  # Sarathi-Serve: prompt chunks within a budget of tokens
    PREFILL_FIRST = "prefill_first"  # vLLM before chunks: whole prompts and no decodes, or decodes only; a baseline
    LAYERED = "layered"  # Layered Prefill: whole prompts, through one group of layers
    ADAPTIVE = "adaptive"  # layered where there are experts to save and streams to spare, else stall-free


@dataclass(frozen=True, slots=True)
class ModelDepth:
    """What layered prefill must know of a model."""

    num_layers: int = 1
    num_experts: int = 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """See above. `order` names one of `prefill_order.ORDERS`; prompts yield by deadline, and not without `guards`."""

    limits: BatchLimits = field(default_factory=BatchLimits)
    batching: Batching = Batching.STALL_FREE
    order: str = "urgency"
    tpot_slo_s: float = float("inf")  # inf: steps are bounded by their tokens alone
    guards: PreemptionGuards | None = field(default_factory=PreemptionGuards)
    layering: LayeringLimits = field(default_factory=LayeringLimits)
    depth: ModelDepth = field(default_factory=ModelDepth)
    swap: SwapRules | None = None  # None: who must make room is computed again

    @property
    def is_by_deadline(self) -> bool:
        """Whether a prompt whose deadline is nearer is served before one that came earlier."""
        return self.order in ("urgency", "slack_edf")

    @property
    def yielding(self) -> PreemptionGuards | None:
        """When a running prompt yields; None: never, as where the order knows no deadlines."""
        return self.guards if self.is_by_deadline else None

    @property
    def budget_limits(self) -> BudgetLimits:
        """Steps of whole tiles, up to the limit of tokens, which may be smaller than a tile."""
        most = self.limits.max_tokens
        return BudgetLimits(min(128, most), most, min(128, most))
