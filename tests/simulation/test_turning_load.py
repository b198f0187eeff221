"""A load that turns from long prompts to long answers and back: roles follow it, and do not flap."""

import csv
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from random import Random

import pytest

from penstock.core.role_controller import RoleRules
from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cluster import Cluster
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.scenario import PoolSpec, Scenario
from penstock_loadgen.traces import TraceSpec
from penstock_loadgen.workload import WorkloadSpec, generate

PHASE_S = 30.0
NUM_PHASES = 3
PROMPTS, ANSWERS = (8192, 8, 26.0), (60, 160, 70.0)  # tokens in, tokens out, requests/s: 7 to 1 and 1 to 7 are best
SLO = Slo(ttft_s=1.0, tpot_s=0.05)


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> WorkloadSpec:
    path: Path = tmp_path_factory.mktemp("trace") / "phases.csv"
    random, began = Random(0), datetime(2026, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
        for number in range(NUM_PHASES):
            num_prompt_tokens, num_output_tokens, rate = (PROMPTS, ANSWERS)[number % 2]
            at_s = number * PHASE_S
            while (at_s := at_s + random.expovariate(rate)) < (number + 1) * PHASE_S:
                stamp = (began + timedelta(seconds=at_s)).strftime("%Y-%m-%d %H:%M:%S.%f")
                writer.writerow([stamp, num_prompt_tokens, num_output_tokens])
    return WorkloadSpec(num_requests=0, trace=TraceSpec("azure", str(path)))


def play(workload: WorkloadSpec, policy: str) -> Cluster:
    cost = CostSpec("fitted", gpu="H200", model="Llama-3-8B")
    pools = tuple(PoolSpec(role, count=4, max_sequences=16, cost=cost) for role in (Role.PREFILL, Role.DECODE))
    cluster = Cluster(Scenario(name="turning", pools=pools, slo=SLO, roles=RoleRules(policy)))
    cluster.run(generate(workload))
    return cluster


def test_roles_follow_within_twenty_seconds_and_do_not_flap(workload: WorkloadSpec) -> None:
    controlled, fixed = play(workload, "combined"), play(workload, "none")
    flips = controlled.roles.flips
    assert max(flip.time_s % PHASE_S for flip in flips) < 20.0
    directions = [to_role for to_role, _ in groupby(flip.to_role for flip in flips)]
    assert directions == ["prefill", "decode", "prefill"]  # one turn a phase
    assert [sum(int(flip.time_s / PHASE_S) == phase for flip in flips) for phase in range(NUM_PHASES)] == [3, 6, 6]
    assert controlled.metrics.totals.num_met > 1.3 * fixed.metrics.totals.num_met
