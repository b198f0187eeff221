"""Prefixes that come from host memory or from a peer instead of being computed again."""

from dataclasses import replace

import pytest

from penstock.core.policies.routing import RoutingPolicy
from penstock.core.policies.routing_mooncake import MooncakePolicy
from penstock.core.role_controller import RoleRules
from penstock.core.route_book import RouteRules
from penstock.core.routing_orders import OrderPolicies
from penstock.simulator.scenario import Failure, Scenario
from penstock.simulator.tiers import HostCache
from penstock.simulator.workload import RequestSpec
from tests.simulation.clusters import DECODE, PREFILL, RecordingCluster, run

LONG = 3000  # tokens, most of which a conversation shares


def turns(num_conversations: int, num_turns: int, gap_s: float) -> list[RequestSpec]:
    """Conversations take turns; each asks with the same long prefix."""
    return [
        RequestSpec(gap_s * (turn * num_conversations + talk), LONG, 4, tuple(range(100 * talk, 100 * talk + 6)), 512)
        for turn in range(num_turns)
        for talk in range(num_conversations)
    ]


def num_prompt_tokens(cluster: RecordingCluster) -> int:
    return sum(worker.engine.totals.num_prompt_tokens for worker in cluster.workers.values())


def one_worker(host_cache: HostCache) -> RecordingCluster:
    """Its device has room for two conversations, and five come."""
    prefill = replace(PREFILL, count=1, num_kv_tokens=2 * LONG + 512, host_cache=host_cache)
    return run(Scenario(pools=(prefill, replace(DECODE, count=1))), turns(5, 4, 1.0))


def test_host_memory_saves_computing_what_the_device_has_no_room_for() -> None:
    without, with_host = one_worker(HostCache()), one_worker(HostCache(num_tokens=50_000))
    assert num_prompt_tokens(without) == 20 * LONG
    assert num_prompt_tokens(with_host) < 0.35 * num_prompt_tokens(without)
    assert with_host.workers["prefill-0"].loader.num_loaded_tokens > 15 * 2000


def test_a_link_slower_than_computing_is_not_used() -> None:
    slow = one_worker(HostCache(num_tokens=50_000, bandwidth_bytes_per_s=1e8))
    assert slow.workers["prefill-0"].loader.num_loaded_tokens == 0


ORDERS = {
    "mooncake": OrderPolicies(mooncake=MooncakePolicy(fetch_s_per_token=4e-6)),
    "predicted": OrderPolicies(routing=RoutingPolicy(fetch_s_per_token=4e-6)),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_busy_holder_is_relieved_by_peers_that_fetch_from_it(order: str) -> None:
    """All ask with one prefix, faster than one worker answers."""
    requests = [RequestSpec(2.0 + 0.006 * n if n else 0.0, LONG, 4, tuple(range(5)), 512) for n in range(60)]

    def simulate(orders: OrderPolicies) -> RecordingCluster:
        return run(Scenario(pools=(replace(PREFILL, count=3), DECODE), router=RouteRules(order, orders)), requests)

    fetching = simulate(ORDERS[order])
    local = simulate(OrderPolicies(mooncake=MooncakePolicy(can_fetch=False)))
    assert sum(worker.loader.num_fetched_tokens for worker in fetching.workers.values()) >= 2560
    assert num_prompt_tokens(fetching) <= num_prompt_tokens(local)


def test_nothing_is_lost_when_source_or_loader_die() -> None:
    pools = (replace(PREFILL, count=3, host_cache=HostCache(num_tokens=50_000)), replace(DECODE, count=3))
    failures = tuple(Failure(f"prefill-{n}", 1.0 + 0.7 * n, 1.0) for n in range(3))
    router = RouteRules("mooncake", ORDERS["mooncake"])
    scenario = Scenario(pools=pools, router=router, failures=failures, roles=RoleRules("combined"))
    cluster = run(scenario, turns(10, 8, 0.05))
    assert not cluster.metrics.totals.failures
