"""Which prompts the next step takes first."""

from collections.abc import Callable

from penstock.core.policies.fairness import TenantCounters, interleave
from penstock.core.policies.prefill_order import ORDERS
from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence


def prompts_in_order(
    prompts: list[Sequence],
    order: str,
    predict: Callable[[], StepCost],
    now_s: float,
    tenants: TenantCounters | None,
) -> list[Sequence]:
    """As they are to be served: streams that lost their blocks, then the rest by `order`, tenants in turn."""
    if len(prompts) < 2 or (order == "fcfs" and tenants is None):
        return prompts
    streaming = [sequence for sequence in prompts if sequence.num_output_tokens > 0]
    fresh = [sequence for sequence in prompts if sequence.num_output_tokens == 0]
    if order != "fcfs":
        fresh = ORDERS[order](fresh, predict(), now_s)
    if tenants is not None:
        fresh = interleave(fresh, tenants)
    return streaming + fresh
