"""Direction and band of P/D-Serve's rows, on few requests."""

from benchmarks.headlines import pd_serve
from benchmarks.headlines.experiments import run
from benchmarks.headlines.row import Effort
from penstock.core.types import Role


def test_the_planned_ratio_attains_what_others_do_not() -> None:
    assert pd_serve.planned_counts() == {Role.PREFILL: 5, Role.DECODE: 3}
    attained = {n: run(pd_serve.split(n, 250, "workload.arrivals.rate=85")).attainment for n in (3, 5)}
    assert attained[5] > 0.9
    assert attained[5] > attained[3] + 0.03


def test_waiting_before_the_workers_attains_more_than_waiting_at_each(short: Effort) -> None:
    row = pd_serve.rejection(short)
    assert row.ratio is not None and row.combined_ratio is not None
    assert row.ratio > 1.2
    assert row.combined_ratio >= 0.98 * row.ratio


def test_contiguous_transfer_takes_half_the_time(short: Effort) -> None:
    row = pd_serve.transfer(short)
    assert row.ratio is not None
    assert 1.7 < row.ratio < 3.0
