"""From records to figures."""

import pytest

from penstock.core.timeline import Slo
from penstock_loadgen.exchange import CANCELLED
from penstock_loadgen.summary import by_class, summarize_run
from tests.unit.loadgen.records import record


def test_figures_are_those_of_the_requests_after_the_warm_up() -> None:
    records = [
        record(0.0, ttft_s=9.0, is_warm_up=True),
        *(record(10.0 + index, ttft_s=0.1 if index % 2 else 0.3) for index in range(10)),
    ]
    summary = summarize_run(records)
    assert (summary.num_requests, summary.num_warm_up, summary.num_finished) == (10, 1, 10)
    assert summary.duration_s == pytest.approx(9 + 0.1 + 4 * 0.01)
    assert summary.output_tokens_per_s == pytest.approx(50 / summary.duration_s)
    assert summary.sent_per_s == pytest.approx(1.0)
    assert summary.attainment == 0.5
    assert summary.goodput == pytest.approx(5 / summary.duration_s)
    ttft = summary.latencies["ttft_s"]
    assert ttft is not None and (ttft.p50, ttft.max) == pytest.approx((0.2, 0.3))


def test_tpot_counts_tokens_and_itl_counts_events() -> None:
    two_tokens_each = record(gap_s=0.02, num_tokens=5, num_output_tokens=10)
    latencies = summarize_run([two_tokens_each]).latencies
    assert latencies["tpot_s"] is not None and latencies["tpot_s"].p50 == pytest.approx(0.08 / 9)
    assert latencies["itl_s"] is not None and latencies["itl_s"].p50 == pytest.approx(0.02)
    fewer = record(gap_s=0.02, num_tokens=5, num_output_tokens=3)
    assert fewer.timeline.tpot_s == pytest.approx(0.04)


def test_failures_are_missed_and_what_was_given_up_on_is_not_judged() -> None:
    records = [
        record(0.0),
        record(1.0, kind="http_429", error="busy", num_tokens=0),
        record(2.0, kind="cut", error="gone"),
        record(3.0, kind=CANCELLED),
    ]
    summary = summarize_run(records)
    assert summary.failures == {"cut": 1, "http_429": 1}
    assert (summary.num_cancelled, summary.num_failed) == (1, 2)
    assert summary.attainment == pytest.approx(1 / 3)
    assert summary.latencies["ttft_s"] is not None and summary.latencies["ttft_s"].count == 1


def test_nothing_sent_is_no_division_by_zero() -> None:
    summary = summarize_run([])
    assert (summary.requests_per_s, summary.attainment) == (0.0, 1.0)
    assert summary.figures()["failed share"] == 0.0


def test_classes_are_summed_up_apart_each_by_its_own_objectives() -> None:
    records = [record(class_name="a"), record(class_name="b", slo=Slo(ttft_s=0.05))]
    classes = by_class(records)
    assert {name: summary.attainment for name, summary in classes.items()} == {"a": 1.0, "b": 0.0}
    assert by_class(records[:1]) == {}


def test_a_raw_line_holds_every_gap() -> None:
    data = record(5.0, ttft_s=0.1, gap_s=0.01, num_tokens=3).as_data()
    assert data["event_offsets_s"] == [0.1, 0.11, 0.12]
    assert (data["end"], data["tpot_s"], data["is_met"]) == ("ok", 0.01, True)
