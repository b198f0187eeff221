"""How many workers in all, and who gives or takes."""

import pytest

from penstock.core.demand import Demand
from penstock.core.policies.scaling import ScalingLimits
from penstock.core.pool_scaler import ScaleRules, decide
from penstock.core.role_pressure import ClusterView
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Role
from tests.unit.workers import make_worker

P, D = Role.PREFILL, Role.DECODE
COST = StepCost(0.0, 1e-4, 0.0, 0.02, 0.0, 1e-9)  # 1,000 tokens: 0.1 s, so 10 requests/s; a decode step: 20 ms
DEMAND = Demand(num_prompt_tokens=1000, num_output_tokens=51)  # 50 steps: 1 s, so 16 requests/s at 16 places
RULES = ScaleRules(20, slo=Slo(1.0, 0.05), limits=ScalingLimits(target_utilisation=0.8, down_window_s=60.0))


def view_of(num_prefill: int, num_decode: int, demand: Demand = DEMAND) -> ClusterView:
    workers = [make_worker(f"p{index}", P) for index in range(num_prefill)]
    workers += [make_worker(f"d{index}", D, max_num_sequences=16, num_blocks=10_000) for index in range(num_decode)]
    return ClusterView(workers, demand, COST)


@pytest.mark.parametrize(
    ("case", "present", "arrival_rate", "target"),
    [
        ("what is needed is there: 4 and 3", (4, 3), 32.0, None),
        ("too few in all: who lacks most grows by it", (2, 3), 32.0, (P, 4)),
        ("both lack: still one at a time", (2, 1), 32.0, (P, 6)),
        ("enough in all, wrongly spread: a flip will do", (3, 4), 32.0, None),
        ("the bound of the group holds", (8, 8), 1000.0, (P, 12)),
    ],
)
def test_grows_only_when_flips_are_not_enough(
    case: str, present: tuple[int, int], arrival_rate: float, target: tuple[Role, int] | None
) -> None:
    assert decide(view_of(*present), arrival_rate, {}, 0.0, RULES).target == target, case


def test_shrinks_when_the_need_has_been_small_for_a_while() -> None:
    view = view_of(4, 3)
    decision = decide(view, 32.0, {}, 0.0, RULES)
    decision = decide(view, 8.0, decision.states, 30.0, RULES)
    assert decision.target is None  # it was needed half a minute ago
    decision = decide(view, 8.0, decision.states, 61.0, RULES)
    assert decision.target == (P, 1)
    assert "8.0 requests/s need 1 prefill and 1 decode" in decision.reason


@pytest.mark.parametrize(
    ("case", "rules", "demand", "present"),
    [
        ("not asked to", ScaleRules(0), DEMAND, (1, 1)),
        ("nothing is known of requests", RULES, Demand(), (1, 1)),
        ("a role has nobody to judge by", RULES, DEMAND, (1, 0)),
    ],
)
def test_leaves_alone_what_it_cannot_judge(
    case: str, rules: ScaleRules, demand: Demand, present: tuple[int, int]
) -> None:
    assert decide(view_of(*present, demand), 100.0, {}, 0.0, rules).target is None, case
