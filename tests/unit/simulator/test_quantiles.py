"""Percentiles in bounded memory."""

from random import Random

import pytest

from penstock.core.timeline import summarize
from penstock.simulator.quantiles import MAX_EXACT, Quantiles


def test_few_values_are_summarised_exactly() -> None:
    values = [0.3, 0.1, 0.2, 5.0]
    quantiles = Quantiles()
    quantiles.add(values[:1])
    quantiles.add(values[1:])
    assert quantiles.summary() == summarize(values)


def test_nothing_has_no_summary() -> None:
    quantiles = Quantiles()
    quantiles.add([])
    assert quantiles.summary() is None


def test_many_values_keep_count_mean_and_maximum_and_percentiles_to_one_percent() -> None:
    random, quantiles = Random(1), Quantiles()
    values = [random.lognormvariate(-4, 1) for _ in range(3 * MAX_EXACT)]
    for begin in range(0, len(values), 10_000):
        quantiles.add(values[begin : begin + 10_000])
    exact, sketched = summarize(values), quantiles.summary()
    assert exact is not None and sketched is not None
    assert (sketched.count, sketched.max) == (exact.count, exact.max)
    assert sketched.mean == pytest.approx(exact.mean)
    for name in ("p50", "p90", "p99"):
        assert getattr(sketched, name) == pytest.approx(getattr(exact, name), rel=0.01)


def test_zero_and_the_enormous_have_buckets_too() -> None:
    quantiles = Quantiles()
    quantiles.add([0.0] * (MAX_EXACT + 1))
    quantiles.add([1e9])
    summary = quantiles.summary()
    assert summary is not None
    assert summary.p50 < 1e-5
    assert summary.max == 1e9
