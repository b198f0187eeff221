"""Every order by name, on the same workers."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from penstock.core.policies.routing import RoutingPolicy
from penstock.core.policies.routing_mooncake import MooncakePolicy
from penstock.core.pools import Flip
from penstock.core.prefixes import Prefixes
from penstock.core.routing_orders import ORDERS, Asked, OrderPolicies, PrefixFetch, Ranking, rank
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Role, RouteQuery, WorkerState
from tests.unit.workers import make_worker

COST = StepCost(0.0, 1e-3, 0.0, 0.01, 0.0, 0.001)


def ask(order: str, workers: list[WorkerState], cached: Mapping[str, int] | None = None, turn: int = 0) -> Ranking:
    policies = OrderPolicies(slo=Slo(ttft_s=2.0, tpot_s=0.05), cost=COST)
    return rank(order, Asked(RouteQuery("r", 1000, 64), Prefixes(cached or {}), turn, policies), workers, 0.0)


def pair(ranking: Ranking) -> str:
    decision = ranking.decision
    return f"{decision.prefill[0].ref.worker_id} {decision.decode[0].ref.worker_id}"


@pytest.fixture
def workers() -> list[WorkerState]:
    """p0 is idle, p1 has a queue but the prefix, p2 a long queue; d0 runs much, d1 little."""
    return [
        make_worker("p0"),
        make_worker("p1", num_waiting=1, num_prefill_tokens=300),
        make_worker("p2", num_waiting=3, num_prefill_tokens=3000),
        make_worker("d0", Role.DECODE, num_running=20, num_decoding=20, num_context_tokens=9000),
        make_worker("d1", Role.DECODE, num_running=10, num_decoding=10, num_context_tokens=900),
    ]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("predicted", "p1 d1"),
        ("round_robin", "p0 d0"),
        ("least_load", "p0 d1"),
        ("prefix_affinity", "p1 d1"),
        ("mooncake", "p1 d1"),
        ("xllm", "p0 d1"),  # it does not look at prefixes
        ("xllm_as_coded", "p0 d0"),  # the first that holds the objective
    ],
)
def test_each_order_has_its_first_pair(workers: list[WorkerState], order: str, expected: str) -> None:
    assert pair(ask(order, workers, cached={"p1": 900})) == expected


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_passes_over_those_that_drain_and_does_without_one_of_the_roles(order: str) -> None:
    draining = make_worker("p0", is_draining=True)
    both = ask(order, [draining, make_worker("p1"), make_worker("d0", Role.DECODE)])
    assert pair(both) == "p1 d0"
    assert [candidate.ref.worker_id for candidate in both.decision.prefill] == ["p1"]
    alone = ask(order, [draining, make_worker("m0", Role.MIXED)]).decision
    assert alone.prefill[0].ref.worker_id == "m0"
    assert not ask(order, [draining]).decision.prefill


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_pairs_workers_of_different_revisions(order: str) -> None:
    old = [make_worker(name, revision="1") for name in ("p0", "p1", "p2")]
    new = [make_worker("p3", revision="2"), make_worker("d0", Role.DECODE, revision="2")]
    assert pair(ask(order, [*old, *new])) == "p3 d0"


def test_xllm_wishes_for_a_prefill_worker_when_the_objective_is_out_of_reach() -> None:
    busy = make_worker("p0", num_waiting=9, num_prefill_tokens=9000)
    decodes = [make_worker(f"d{n}", Role.DECODE, num_context_tokens=n) for n in range(3)]
    assert ask("xllm", [busy, *decodes]).flip == Flip(Role.DECODE, Role.PREFILL, "d0")
    assert ask("predicted", [busy, *decodes]).flip is None


def test_mooncake_fetches_a_much_longer_prefix_from_a_busy_worker_when_it_may() -> None:
    workers = [make_worker("p0"), make_worker("p1", num_prefill_tokens=5000), make_worker("d0", Role.DECODE)]
    asked = Asked(
        RouteQuery("r", 1000, 64),
        Prefixes({"p1": 900}, 900, workers[1].ref),
        0,
        OrderPolicies(mooncake=MooncakePolicy(), cost=COST),
    )
    ranking = rank("mooncake", asked, workers, 0.0)
    assert ranking.decision.prefill[0].ref.worker_id == "p0"
    assert ranking.fetches == {"p0": PrefixFetch(900, workers[1].ref)}
    refusing = replace(asked, policies=OrderPolicies(cost=COST))
    assert not rank("mooncake", refusing, workers, 0.0).fetches


@pytest.mark.parametrize(("s_per_token", "fetched"), [(1e-3, {"p0": 900}), (1e-6, {})])
def test_predicted_fetches_where_that_is_how_it_priced_the_route(
    s_per_token: float, fetched: Mapping[str, int]
) -> None:
    """p0 has measured nothing: it is taken to be as fast as its peer."""
    holder = make_worker("p1", prefill_s_per_token=s_per_token, num_prefill_tokens=5000)
    policies = OrderPolicies(routing=RoutingPolicy(fetch_s_per_token=1e-5))
    asked = Asked(RouteQuery("r", 1000, 64), Prefixes({"p1": 900}, 900, holder.ref), 0, policies)
    ranking = rank("predicted", asked, [make_worker("p0"), holder, make_worker("d0", Role.DECODE)], 0.0)
    assert {name: fetch.num_tokens for name, fetch in ranking.fetches.items()} == fetched
    first = ranking.decision.prefill[0]
    assert (first.ref.worker_id, first.num_cached_tokens) == ("p0", fetched.get("p0", 0))


@pytest.mark.parametrize("order", [order for order in ORDERS if order not in ("predicted", "xllm", "xllm_as_coded")])
def test_as_many_candidates_are_named_as_asked_for(order: str) -> None:
    pools = [make_worker(f"{role[0]}{n}", role) for role in (Role.PREFILL, Role.DECODE) for n in range(8)]
    policies = OrderPolicies(mooncake=MooncakePolicy(num_candidates=6), num_candidates=6, cost=COST)
    decision = rank(order, Asked(RouteQuery("r", 1000, 64), Prefixes(), 0, policies), pools, 0.0).decision
    assert (len(decision.prefill), len(decision.decode)) == (6, 6)
