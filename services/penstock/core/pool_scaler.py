"""How many workers a group should have in all, and which role gives or takes: the decision when flips are not enough.

Asked every few seconds, beside `core.role_controller`, which only moves what there is:

    needed per role     policies.scaling on the recent arrival rate, and on what one worker of the role can serve
    more than there is  the role that lacks most grows by the difference in all
    less than there is  the role with most to spare shrinks by it, once the need has been smaller for a while
    otherwise           nothing: a flip will do
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.core.policies.scaling import ScalingLimits, ScalingState, desired_count
from penstock.core.role_controller import worker_rates
from penstock.core.role_pressure import ClusterView
from penstock.core.timeline import Slo
from penstock.core.types import Role

ROLES = (Role.PREFILL, Role.DECODE)  # mixed workers serve both and are scaled by an operator


@dataclass(frozen=True, slots=True)
class ScaleRules:
    """`max_workers` bounds the group; 0: it is not scaled."""

    max_workers: int = 0
    interval_s: float = 5.0
    slo: Slo = field(default_factory=Slo)
    limits: ScalingLimits = field(default_factory=ScalingLimits)


@dataclass(frozen=True, slots=True)
class ScaleDecision:
    """`target` is to be ordered now, if any. `states` are to be handed in again next time."""

    target: tuple[Role, int] | None
    reason: str
    states: Mapping[Role, ScalingState]


def decide(
    view: ClusterView, arrival_rate: float, states: Mapping[Role, ScalingState], now_s: float, rules: ScaleRules
) -> ScaleDecision:
    """`arrival_rate` is in requests/s, refused ones included."""
    present = {role: len(view.of(role)) for role in ROLES}
    is_known = view.demand.num_prompt_tokens > 0 and view.demand.num_output_tokens > 0
    if not rules.max_workers or not all(present.values()) or not is_known:
        return ScaleDecision(None, "", states)
    rates = worker_rates(view, rules.slo)
    needed: dict[Role, int] = {}
    later: dict[Role, ScalingState] = {}
    for role in ROLES:
        needed[role], later[role] = desired_count(
            present[role], arrival_rate, rates[role], states.get(role, ScalingState()), now_s, rules.limits
        )
    num_more = min(sum(needed.values()), rules.max_workers) - sum(present.values())
    reason = f"{arrival_rate:.1f} requests/s need {needed[Role.PREFILL]} prefill and {needed[Role.DECODE]} decode"
    if num_more == 0:
        return ScaleDecision(None, reason, later)
    lacks = {role: needed[role] - present[role] for role in ROLES}
    role = (max if num_more > 0 else min)(ROLES, key=lambda role: lacks[role])
    count = max(rules.limits.min_workers, present[role] + num_more)
    return ScaleDecision((role, count) if count != present[role] else None, reason, later)
