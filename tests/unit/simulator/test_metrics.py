"""What is counted while a simulation runs."""

from penstock.core.errors import NoWorkers
from penstock.core.timeline import Slo, Timeline
from penstock.simulator.metrics import MAX_SAMPLES, PoolHistory, PoolSample, RequestMetrics
from penstock.simulator.workload import RequestSpec


def finished(arrived_s: float, *token_times_s: float) -> Timeline:
    return Timeline(arrived_s, [], list(token_times_s), token_times_s[-1])


def test_requests_are_met_missed_or_failed_and_each_counts_once() -> None:
    metrics = RequestMetrics(Slo(ttft_s=1.0))
    for timeline, error in (
        (finished(0.0, 0.5, 0.6), None),
        (finished(0.0, 1.5, 1.6), None),
        (Timeline(0.0), NoWorkers("None.")),
    ):
        metrics.arrived(0.0)
        metrics.ended(RequestSpec(0.0, 10, 4), timeline, error, 2.0)
    totals = metrics.totals
    assert (totals.num_arrived, totals.num_finished, totals.num_met, totals.num_failed) == (3, 2, 1, 1)
    assert totals.num_output_tokens == 4
    assert totals.failures == {"no_workers": 1}
    ttft = metrics.latencies["ttft_s"].summary()
    assert ttft is not None and ttft.max == 1.5


def test_history_stays_short_however_long_it_lasts() -> None:
    history = PoolHistory(1.0)
    for time_s in range(10 * MAX_SAMPLES):
        history.add(lambda time_s=time_s: {"decode": PoolSample(time_s, 1, 0, 0, 0.0)})  # type: ignore[misc]
    assert len(history.samples["decode"]) < MAX_SAMPLES
    assert history.interval_s > 1.0
