"""Small clusters and traffic for simulation tests."""

from collections.abc import Iterable
from dataclasses import replace

from penstock.core.errors import PenstockError
from penstock.core.timeline import Timeline
from penstock.core.types import Role
from penstock.simulator.cluster import Cluster
from penstock.simulator.scenario import PoolSpec, Scenario
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.arrivals import ArrivalSpec
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.workload import WorkloadSpec, generate

PREFILL = PoolSpec(Role.PREFILL, 2)
DECODE = PoolSpec(Role.DECODE, 2)
MIXED = PoolSpec(Role.MIXED, 3)

Ended = tuple[RequestSpec, Timeline, PenstockError | None]


class RecordingCluster(Cluster):
    """Keeps every timeline, which a long simulation could not afford."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.ended: list[Ended] = []
        count, self.desk.on_over = self.desk.on_over, self._keep
        self._count = count

    def _keep(self, spec: RequestSpec, timeline: Timeline, error: PenstockError | None) -> None:
        self.ended.append((spec, timeline, error))
        self._count(spec, timeline, error)


def run(scenario: Scenario, workload: Iterable[RequestSpec]) -> RecordingCluster:
    """Simulate, and check what holds of every simulation."""
    cluster = RecordingCluster(scenario)
    cluster.run(workload)
    check_conservation(cluster)
    return cluster


def traffic(rate: float, num_requests: int = 300, prompt: float = 600, output: float = 120) -> list[RequestSpec]:
    """Poisson arrivals of log-normal lengths."""
    lengths = LengthSpec("lognormal", prompt, output, max_total_tokens=6000)
    return list(generate(WorkloadSpec(num_requests, 7, ArrivalSpec(rate=rate), lengths)))


def check_conservation(cluster: RecordingCluster) -> None:
    """Every request ended once with all its tokens in order, or failed; nobody holds a block or a sequence any more."""
    totals = cluster.metrics.totals
    assert totals.num_arrived == len(cluster.ended) == totals.num_finished + totals.num_failed
    for spec, timeline, error in cluster.ended:
        if error is None:
            assert len(timeline.token_times_s) == spec.num_output_tokens
            assert timeline.finished_s == timeline.token_times_s[-1]
        assert timeline.token_times_s == sorted(timeline.token_times_s)
        assert all(span.duration_s >= 0 for span in timeline.spans)
    for worker in cluster.workers.values():
        if worker.is_alive:
            assert not worker.book.owners
            assert worker.book.pool.num_referenced == 0
            assert worker.book.num_waiting == len(worker.book.running) == 0


def small(pool: PoolSpec, num_kv_tokens: int) -> PoolSpec:
    """The pool with less memory."""
    return replace(pool, num_kv_tokens=num_kv_tokens)
