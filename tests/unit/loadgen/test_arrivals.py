"""When sessions arrive."""

from itertools import islice, pairwise, takewhile
from random import Random
from statistics import fmean, pstdev

import pytest

from penstock.core.errors import InvalidSettings
from penstock_loadgen.arrivals import ArrivalSpec, arrival_times


@pytest.mark.parametrize(
    ("spec", "cv"),
    [(ArrivalSpec("poisson", 4.0), 1.0), (ArrivalSpec("gamma", 4.0, 2.0), 2.0), (ArrivalSpec("uniform", 4.0), 0.0)],
)
def test_arrivals_have_their_rate_and_burstiness(spec: ArrivalSpec, cv: float) -> None:
    times = [0.0, *islice(arrival_times(spec, Random(0)), 40_000)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert fmean(gaps) == pytest.approx(0.25, rel=0.03)
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(cv, rel=0.05, abs=1e-6)


@pytest.mark.parametrize(("rate", "end_rate"), [(100.0, 400.0), (400.0, 100.0), (250.0, 250.0)])
def test_a_ramp_goes_from_one_rate_to_the_other_and_stays_there(rate: float, end_rate: float) -> None:
    spec = ArrivalSpec("ramp", rate, end_rate=end_rate, ramp_s=40.0)
    times = list(takewhile(lambda at_s: at_s < 60, arrival_times(spec, Random(1))))
    assert times == sorted(times)

    def counted(begin_s: float, end_s: float) -> float:
        return sum(begin_s <= at_s < end_s for at_s in times) / (end_s - begin_s)

    assert counted(0, 10) == pytest.approx(rate + (end_rate - rate) / 8, rel=0.1)
    assert counted(30, 40) == pytest.approx(end_rate - (end_rate - rate) / 8, rel=0.1)
    assert counted(40, 60) == pytest.approx(end_rate, rel=0.1)


def test_another_rate_keeps_the_shape() -> None:
    assert ArrivalSpec("gamma", 4.0, 2.0).at_rate(8.0).cv == 2.0
    faster = ArrivalSpec("ramp", 10.0, end_rate=30.0).at_rate(20.0)
    assert (faster.rate, faster.end_rate) == (20.0, 60.0)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"kind": "sometimes"}, "kind"), ({"rate": 0}, "rate"), ({"cv": 0}, "cv"), ({"concurrency": 0}, "concurrency")],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], key: str) -> None:
    with pytest.raises(InvalidSettings, match=f"arrivals.{key}"):
        ArrivalSpec(**changes)  # type: ignore[arg-type]
