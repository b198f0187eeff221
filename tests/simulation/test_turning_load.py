"""A load that turns from long prompts to long answers and back: roles follow it, and do not flap."""

from itertools import groupby
from random import Random

from penstock.core.role_controller import RoleRules
from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cluster import Cluster
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.scenario import PoolSpec, Scenario
from penstock.simulator.workload import RequestSpec

PHASE_S = 30.0
NUM_PHASES = 3
PROMPTS, ANSWERS = (8192, 8, 26.0), (60, 160, 70.0)  # tokens in, tokens out, requests/s: 7 to 1 and 1 to 7 are best
SLO = Slo(ttft_s=1.0, tpot_s=0.05)


def workload() -> list[RequestSpec]:
    """Poisson arrivals, phase after phase."""
    random, specs = Random(0), list[RequestSpec]()
    for number in range(NUM_PHASES):
        num_prompt_tokens, num_output_tokens, rate = (PROMPTS, ANSWERS)[number % 2]
        at_s = number * PHASE_S
        while (at_s := at_s + random.expovariate(rate)) < (number + 1) * PHASE_S:
            specs.append(RequestSpec(at_s, num_prompt_tokens, num_output_tokens))
    return specs


def play(policy: str) -> Cluster:
    cost = CostSpec("fitted", gpu="H200", model="Llama-3-8B")
    pools = tuple(PoolSpec(role, count=4, max_sequences=16, cost=cost) for role in (Role.PREFILL, Role.DECODE))
    cluster = Cluster(Scenario(name="turning", pools=pools, slo=SLO, roles=RoleRules(policy)))
    cluster.run(workload())
    return cluster


def test_roles_follow_within_twenty_seconds_and_do_not_flap() -> None:
    controlled, fixed = play("combined"), play("none")
    flips = controlled.roles.flips
    assert max(flip.time_s % PHASE_S for flip in flips) < 20.0
    directions = [to_role for to_role, _ in groupby(flip.to_role for flip in flips)]
    assert directions == ["prefill", "decode", "prefill"]  # one turn a phase
    assert [sum(int(flip.time_s / PHASE_S) == phase for flip in flips) for phase in range(NUM_PHASES)] == [3, 6, 6]
    assert controlled.metrics.totals.num_met > 1.3 * fixed.metrics.totals.num_met
