"""Bisection on goodput: found to its precision, in few runs, from any guess."""

import pytest

from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cluster import Cluster
from penstock.simulator.goodput import attainment, find_goodput
from penstock.simulator.scenario import PoolSpec, Scenario
from penstock.simulator.workload import RequestSpec


@pytest.mark.parametrize("first_rate", [0.5, 7.3, 10.0, 200.0])
def test_finds_the_largest_rate_that_attains_from_any_guess(first_rate: float) -> None:
    found = find_goodput(lambda rate: 1.0 if rate <= 7.3 else 0.5, first_rate, precision=0.01)
    assert 7.3 / 1.01 <= found.rate <= 7.3
    assert found.num_runs <= 15


def test_needs_few_runs_when_the_guess_is_good() -> None:
    assert find_goodput(lambda rate: 1.0 if rate <= 9.9 else 0.0, 8.0, precision=0.03).num_runs <= 7


def test_asks_each_rate_once() -> None:
    asked: list[float] = []

    def attained_at(rate: float) -> float:
        asked.append(rate)
        return 1.0 / rate

    find_goodput(attained_at, 3.0)
    assert len(asked) == len(set(asked))


def test_no_rate_attains_what_cannot_be_attained() -> None:
    assert find_goodput(lambda rate: 0.2, 1.0).rate == 0.0


@pytest.mark.parametrize(("floor_rate", "rate", "most_runs"), [(8.0, 0.0, 1), (5.0, 7.3, 8), (7.0, 7.3, 6)])
def test_a_floor_ends_the_search_or_shortens_it(floor_rate: float, rate: float, most_runs: int) -> None:
    found = find_goodput(lambda rate: 1.0 if rate <= 7.3 else 0.5, 10.0, precision=0.03, floor_rate=floor_rate)
    assert found.rate == pytest.approx(rate, rel=0.03)
    assert found.num_runs <= most_runs


def overloaded() -> Cluster:
    return Cluster(Scenario(pools=(PoolSpec(Role.MIXED),), slo=Slo(ttft_s=1e-6)))


REQUESTS = [RequestSpec(float(number), 100, 4) for number in range(100)]


def test_a_simulation_stops_when_its_goal_is_out_of_reach() -> None:
    stopped, whole = overloaded(), overloaded()
    assert attainment(stopped, REQUESTS, 100, goal=0.9) == attainment(whole, REQUESTS, 100) == 0.0
    assert stopped.metrics.totals.num_arrived < 20
    assert whole.metrics.totals.num_arrived == 100


def test_a_simulation_stops_when_its_goal_is_reached() -> None:
    stopped, whole = (Cluster(Scenario(pools=(PoolSpec(Role.MIXED),))) for _ in range(2))
    assert attainment(stopped, REQUESTS, 100, goal=0.5) == 0.5
    assert stopped.metrics.totals.num_arrived < 60
    assert attainment(whole, REQUESTS, 100) == 1.0


def test_attainment_counts_requests_that_were_not_reached_as_missed() -> None:
    cluster = Cluster(Scenario(pools=(PoolSpec(Role.MIXED),)))
    assert attainment(cluster, [RequestSpec(1.0, 100, 4)], 2) == 0.5
