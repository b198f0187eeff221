"""Which differences are called real."""

from random import Random
from typing import Any

import pytest

from penstock_loadgen.compare import BOOTSTRAP, MANN_WHITNEY, compare, mann_whitney_p
from penstock_loadgen.intervals import interval
from penstock_loadgen.results import Raw, Result


def result(figures: list[dict[str, float]], requests: list[list[Raw]] | None = None) -> Result:
    return Result("x", figures, requests or [[] for _ in figures], True)


def requests(ttft_s: float, seed: int, num: int = 400) -> list[Raw]:
    random = Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(num):
        first_s = random.gauss(ttft_s, 0.02)
        rows.append(
            {
                "end": "ok",
                "ttft_s": first_s,
                "tpot_s": 0.01,
                "e2e_s": first_s + 0.1,
                "is_met": first_s < 0.2,
                "event_offsets_s": [first_s, first_s + 0.01],
            }
        )
    return rows


@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        # R: wilcox.test(a, b, exact=TRUE)$p.value
        ([1, 2, 3, 4], [5, 6, 7, 8], 0.02857),
        ([1, 2, 3], [4, 5, 6], 0.1),
        ([1, 4, 5, 8], [2, 3, 6, 7], 1.0),
        ([1, 3, 5, 7, 9], [2, 4, 6, 8, 10], 0.6905),
        ([5, 5, 5, 5], [5, 5, 5, 5], 1.0),
    ],
)
def test_mann_whitney_is_exact(a: list[float], b: list[float], p: float) -> None:
    assert mann_whitney_p(a, b) == pytest.approx(p, abs=1e-4)


def test_many_repeats_are_judged_by_the_normal_approximation() -> None:
    random = Random(0)
    a, b = [[random.gauss(mean, 1) for _ in range(30)] for mean in (0.0, 0.0)]
    assert mann_whitney_p(a, b) > 0.05
    assert mann_whitney_p(a, [value + 2 for value in b]) < 1e-6


def test_repeats_are_compared_where_there_are_enough() -> None:
    a = result([{"TTFT p50": 0.1 + 0.001 * index, "requests/s": 10 + index % 2} for index in range(4)])
    b = result([{"TTFT p50": 0.2 + 0.001 * index, "requests/s": 10 + index % 2} for index in range(4)])
    comparison = compare(a, b)
    assert comparison.test == MANN_WHITNEY
    verdicts = {one.name: one.is_real for one in comparison.differences}
    assert verdicts == {"TTFT p50": True, "requests/s": False}


def test_single_runs_are_compared_request_by_request() -> None:
    a, same, slower = (result([{}], [requests(*how)]) for how in ((0.1, 1), (0.1, 2), (0.13, 3)))
    assert compare(a, same).test == BOOTSTRAP
    unreal = {one.name: one.is_real for one in compare(a, same).differences}
    assert not unreal["TTFT mean"] and not unreal["TPOT p50"]
    real = {one.name: one for one in compare(a, slower).differences}
    assert real["TTFT mean"].is_real and real["TTFT p50"].is_real and real["E2E p90"].is_real
    low, high = real["TTFT mean"].low, real["TTFT mean"].high
    assert low is not None and high is not None and 0.02 < low < high < 0.04
    assert real["TTFT mean"].change == pytest.approx(0.3, abs=0.05)


def test_an_interval_is_students() -> None:
    one = interval([9.0, 10.0, 11.0])
    assert one.low is not None and one.high is not None
    assert (one.low, one.high) == pytest.approx((10 - 4.303 / 3**0.5, 10 + 4.303 / 3**0.5), abs=1e-3)
    assert interval([5.0]).low is None
