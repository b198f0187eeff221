"""Whatever happens, no request, token or block is lost or made twice."""

from dataclasses import replace

import pytest

from penstock.core.schedule import Batching
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.gateway import GatewayLimits
from penstock.simulator.scenario import Failure, PoolSpec, Scenario
from penstock.simulator.transfers import TransferCosts
from penstock.simulator.workload import RequestSpec
from tests.simulation.clusters import DECODE, MIXED, PREFILL, RecordingCluster, run, small, traffic

DEATHS = (
    Failure("decode-0", 3.0, 4.0),
    Failure("prefill-1", 5.0, 2.0),
    Failure("decode-1", 9.0, 3.0),
    Failure("prefill-0", 9.001, 3.0),
    Failure("decode-0", 14.0),
)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("plenty", (PREFILL, DECODE)),
        Scenario("mixed", (MIXED,)),
        Scenario("mixed beside pools", (PREFILL, DECODE, replace(MIXED, count=1))),
        Scenario("little decode memory", (PREFILL, small(DECODE, 9000))),
        Scenario("little prefill memory", (small(PREFILL, 9000), DECODE)),
        Scenario("little memory everywhere, mixed", (small(MIXED, 9000),)),
        Scenario("prefill first", (replace(small(MIXED, 9000), batching=Batching.PREFILL_FIRST),)),
        Scenario("slow network", (PREFILL, DECODE), transfer=TransferCosts(2e9, 1e-4, is_contiguous=False)),
        Scenario("no latency", (PREFILL, DECODE), rpc_s=0.0),
        Scenario("deaths", (PREFILL, DECODE), failures=DEATHS),
        Scenario("deaths without latency", (PREFILL, small(DECODE, 9000)), failures=DEATHS, rpc_s=0.0),
        Scenario("deaths, slow network", (PREFILL, DECODE), failures=DEATHS, transfer=TransferCosts(2e9)),
        Scenario(
            "mixed deaths", (small(MIXED, 20000),), failures=(Failure("mixed-0", 4.0, 5.0), Failure("mixed-1", 4.2))
        ),
    ],
    ids=lambda scenario: scenario.name,
)
@pytest.mark.parametrize("rate", [8.0, 40.0])
def test_everything_is_accounted_for(scenario: Scenario, rate: float) -> None:
    cluster = run(scenario, traffic(rate))
    assert cluster.metrics.totals.num_finished > 200


def test_deaths_cost_a_pause_and_no_request() -> None:
    cluster = run(Scenario(pools=(PREFILL, DECODE), failures=DEATHS[:3]), traffic(8.0))
    assert cluster.metrics.totals.num_failed == 0
    assert cluster.desk.num_resumes > 0


def test_when_every_decode_worker_is_gone_prefill_workers_serve_alone() -> None:
    failures = (Failure("decode-0", 2.0), Failure("decode-1", 2.0))
    cluster = run(Scenario(pools=(PREFILL, DECODE), failures=failures), traffic(8.0, 60))
    assert cluster.metrics.totals.num_failed == 0


def test_without_any_worker_left_requests_fail_and_say_why() -> None:
    failures = tuple(Failure(f"mixed-{number}", 2.0) for number in range(3))
    cluster = run(Scenario(pools=(MIXED,), failures=failures), traffic(8.0, 60))
    assert set(cluster.metrics.totals.failures) == {"no_workers"}
    assert cluster.metrics.totals.num_finished > 0


def test_overload_is_refused_and_never_a_growing_queue() -> None:
    limits = GatewayLimits(max_num_waiting=100)
    impatient = [replace(spec, first_token_deadline_s=0.5) for spec in traffic(400.0, 1000)]
    cluster = run(Scenario(pools=(replace(PREFILL, count=1), DECODE), gateway=limits), impatient)
    assert set(cluster.metrics.totals.failures) == {"overloaded", "deadline_exceeded"}
    for _, timeline, error in cluster.ended:
        assert error is not None or timeline.ttft_s is not None
    waiting = max(sample.num_waiting for sample in cluster.history.samples["gateway"])
    assert waiting < 150  # who was in already may come back


def test_a_prompt_that_fits_nowhere_fails_alone() -> None:
    pools = (small(PREFILL, 4000), small(DECODE, 4000))
    requests = [RequestSpec(0.0, 100, 10), RequestSpec(0.1, 5000, 10), RequestSpec(0.2, 100, 10)]
    cluster = run(Scenario(pools=pools), requests)
    assert cluster.metrics.totals.failures == {"no_workers": 1}


def test_a_thousand_workers_share_the_work() -> None:
    cost = CostSpec(model="Llama-3-8B")
    pools = (replace(PREFILL, count=500, cost=cost), replace(DECODE, count=500, cost=cost))
    cluster = run(Scenario(pools=pools), traffic(1000.0, 500, output=30))
    shares = [worker.engine.totals.num_prompt_tokens for worker in cluster.workers.values()]
    assert cluster.metrics.totals.num_finished == 500
    assert sum(share > 0 for share in shares) > 200


def test_memory_does_not_grow_with_the_trace() -> None:
    """What is kept of a finished request is counts: nothing in the cluster refers to it."""
    cluster = RecordingCluster(Scenario(pools=(PREFILL, DECODE)))
    cluster.run(traffic(20.0, 200))
    assert not cluster.events
    assert not len(cluster.desk.queue)
    for worker in cluster.workers.values():
        assert not worker.prefills._prefills
        assert not worker.decodes._decoding
        assert not worker.decodes._reservers


def test_pool_numbers_go_on_over_pools_of_one_role() -> None:
    slow = PoolSpec(PREFILL.role, 1, CostSpec(gpu="A100"))
    cluster = run(Scenario(pools=(PREFILL, slow, DECODE)), traffic(5.0, 20))
    assert list(cluster.workers) == ["prefill-0", "prefill-1", "prefill-2", "decode-0", "decode-1"]
