from dataclasses import dataclass

import pytest

from penstock.core.timeline import Slo, Span, Stage, Timeline, meets, percentile, summarize


@dataclass
class Ago:
    stage: str
    began_ago_s: float
    ended_ago_s: float


def timeline(*token_times_s: float, arrived_s: float = 10.0) -> Timeline:
    made = Timeline(arrived_s)
    for time_s in token_times_s:
        made.token(time_s)
    if token_times_s:
        made.finish(token_times_s[-1])
    return made


def test_stages_are_entered_here_or_come_from_workers_as_seconds_ago() -> None:
    made = Timeline(arrived_s=10.0)
    made.begin(Stage.ROUTE, 10.0)
    made.begin(Stage.QUEUE, 10.1)
    made.end(Stage.ROUTE, 10.25)
    made.from_ago(20.0, [Ago("prefill", 4.0, 3.0), Ago("prefill", 2.0, 1.5)])
    assert made.spans[0] == Span(Stage.ROUTE, 10.0, 10.25)
    assert made.spans[1] == Span(Stage.PREFILL, 16.0, 17.0)
    assert made.duration_s(Stage.PREFILL) == 1.5
    assert made.duration_s(Stage.DECODE) == 0.0


def test_a_stage_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="lunch"):
        Timeline(0.0).from_ago(1.0, [Ago("lunch", 1.0, 0.5)])


def test_latencies_follow_their_definitions() -> None:
    made = timeline(11.0, 11.5, 11.5, 13.0)
    assert made.ttft_s == 1.0
    assert made.itl_s == [0.5, 0.0, 1.5]
    assert made.tpot_s == pytest.approx(2.0 / 3)
    assert made.e2e_s == 3.0


def test_latencies_that_do_not_exist_are_none() -> None:
    assert (timeline().ttft_s, timeline().tpot_s, timeline().e2e_s) == (None, None, None)
    assert timeline(11.0).tpot_s is None


@pytest.mark.parametrize(
    ("slo", "is_met"),
    [
        (Slo(), True),
        (Slo(ttft_s=1.0, tpot_s=0.5, e2e_s=2.0), True),
        (Slo(ttft_s=0.9), False),
        (Slo(tpot_s=0.4), False),
        (Slo(e2e_s=1.9), False),
    ],
)
def test_a_request_meets_its_slo_when_it_meets_every_objective(slo: Slo, is_met: bool) -> None:
    assert meets(timeline(11.0, 11.5, 12.0), slo) is is_met


def test_a_request_that_failed_meets_nothing() -> None:
    assert not meets(timeline(), Slo())


def test_summaries_interpolate_between_ranks() -> None:
    summary = summarize([3.0, 1.0, 2.0, 4.0])
    assert summary is not None
    assert (summary.count, summary.mean, summary.p50, summary.max) == (4, 2.5, 2.5, 4.0)
    assert percentile([1.0, 2.0], 0.9) == pytest.approx(1.9)
    assert summarize([]) is None
