"""Workers change roles while they serve, and nothing is lost by it."""

from dataclasses import replace

import pytest

from penstock.core.policies.flip_guard import FlipLimits
from penstock.core.role_controller import RoleRules
from penstock.core.route_book import RouteRules
from penstock.core.timeline import Slo
from penstock.simulator.report import report
from penstock.simulator.scenario import Failure, Scenario
from penstock.simulator.workload import RequestSpec
from tests.simulation.clusters import DECODE, PREFILL, RecordingCluster, run, traffic

SLO = Slo(ttft_s=0.3, tpot_s=0.05)
AT_ONCE = FlipLimits(hold_s=0.0, cool_down_s=0.0, reverse_cool_down_s=0.0)
POLICIES = {
    "combined": RoleRules("combined"),
    "xllm": RoleRules("xllm", interval_s=0.25, limits=AT_ONCE),
    "epd": RoleRules("epd", limits=AT_ONCE),
    "share": RoleRules("share"),
}


def two_phases() -> list[RequestSpec]:
    """Long prompts with short answers, then short prompts with long answers."""
    reading = traffic(90.0, 900, prompt=2000, output=8)
    began_s = reading[-1].arrived_s
    writing = traffic(80.0, 400, prompt=60, output=400)
    return [*reading, *(replace(spec, arrived_s=spec.arrived_s + began_s) for spec in writing)]


def simulate(policy: str, failures: tuple[Failure, ...] = ()) -> RecordingCluster:
    router = RouteRules("xllm" if policy == "xllm" else "predicted")
    pools = (replace(PREFILL, count=3), replace(DECODE, count=3))
    roles = POLICIES.get(policy, RoleRules())
    return run(Scenario(pools=pools, slo=SLO, router=router, roles=roles, failures=failures), two_phases())


@pytest.fixture(scope="module")
def combined() -> RecordingCluster:
    return simulate("combined")


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_ends_whole_while_roles_change(policy: str) -> None:
    cluster = simulate(policy, failures=(Failure("decode-0", 6.0, 3.0),))
    assert cluster.roles.flips
    assert not cluster.metrics.totals.failures


def test_roles_follow_the_traffic_and_objectives_are_met_more_often(combined: RecordingCluster) -> None:
    assert {(flip.from_role, flip.to_role) for flip in combined.roles.flips} >= {("decode", "prefill")}
    assert report(combined).attainment > report(simulate("none")).attainment


def test_control_does_not_swing(combined: RecordingCluster) -> None:
    assert len(combined.roles.flips) <= 8


def test_a_second_run_flips_the_same(combined: RecordingCluster) -> None:
    assert simulate("combined").roles.flips == combined.roles.flips
