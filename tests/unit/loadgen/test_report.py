"""The HTML report: complete, self-contained, and made of what was measured."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from penstock.core.timeline import Slo
from penstock_loadgen.cluster_watch import ClusterEvent, ClusterHistory, PoolPoint
from penstock_loadgen.experiment import Experiment, GoodputFound, Probe, Trial
from penstock_loadgen.report.charts import MAX_BUCKETS
from penstock_loadgen.report.page import page
from penstock_loadgen.sessions import TrafficClass
from penstock_loadgen.targets import Outcome
from penstock_loadgen.validity import Validity
from penstock_loadgen.workload import WorkloadSpec
from tests.unit.loadgen.records import record

WORKLOAD = WorkloadSpec(classes=(TrafficClass(api_key="secret"),), name="<b>name</b>", slo=Slo(ttft_s=0.2))
LIVE = {"kind": "live", "url": "http://127.0.0.1:8000", "model": "tiny"}
HISTORY = ClusterHistory(
    {"decode": [PoolPoint(0.0, 2, 0, 1, 0.1), PoolPoint(5.0, 1, 3, 2, 0.2)]},
    [ClusterEvent(5.0, "decode-0 (decode) is gone")],
)


def trial(validity: Validity = Validity(), **changes: Any) -> Trial:  # noqa: B008  # frozen
    records = [record(index / 2, **changes) for index in range(20)] + [record(3.0, kind="http_500", error="<oops>")]
    return Trial.of(WORKLOAD, Outcome(records, validity, HISTORY))


def made(*trials: Trial, goodput: GoodputFound | None = None) -> str:
    return page(replace(Experiment.of(WORKLOAD, LIVE, trials), goodput=goodput), trials)


def charts(html: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return {chart["title"]: chart for chart in map(json.loads, found)}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_it_needs_nothing_from_outside_and_shows_no_keys() -> None:
    html = made(trial())
    links = _Links()
    links.feed(html)
    assert links.found == []
    assert not re.search(r"@import|url\(", html)
    assert "secret" not in html


def test_what_users_named_is_shown_and_not_run() -> None:
    html = made(trial())
    assert "<b>name</b>" not in html and "&lt;b&gt;name" in html
    assert "&lt;oops&gt;" in html


def test_deaths_are_marked_in_every_plot_over_time() -> None:
    shown = charts(made(trial()))
    assert shown["Workers in each pool"]["series"][0]["points"] == [[0.0, 2.0], [5.0, 1.0]]
    for title in ("TTFT by time of sending", "Requests per second", "Workers in each pool"):
        assert shown[title]["marks"] == [{"x": 5.0, "text": "decode-0 (decode) is gone"}]


def test_objectives_are_drawn_and_failures_counted() -> None:
    shown = charts(made(trial()))
    assert shown["TTFT by time of sending"]["limit"] == 200.0
    assert [series["name"] for series in shown["Requests per second"]["series"]] == ["sent", "finished", "failed"]


def test_repeats_are_lines_of_their_own_and_have_intervals() -> None:
    html = made(trial(), trial(ttft_s=0.15))
    assert [series["name"] for series in charts(html)["TTFT: share of requests within"]["series"]] == ["run 1", "run 2"]
    assert "Means of 2 runs" in html


def test_an_invalid_run_says_so_first() -> None:
    html = made(trial(Validity(("the client fell behind",))))
    assert html.index("Invalid.") < html.index("<h2>")
    assert "the client fell behind" in html


def test_a_search_shows_what_each_rate_attained() -> None:
    found = GoodputFound(8.0, 0.95, 0.9, (Probe(8.0, 0.95, True), Probe(16.0, 0.2, True)))
    chart = charts(made(trial(), goodput=found))["Objectives attained at each rate"]
    assert chart["series"][0]["points"] == [[8.0, 95.0], [16.0, 20.0]]
    assert chart["limit"] == 90.0


def test_a_run_without_a_single_answer_still_makes_a_page() -> None:
    failed = [record(index, kind="connect", error="refused", num_tokens=0) for index in range(3)]
    html = made(Trial.of(WORKLOAD, Outcome(failed, Validity())))
    assert "connect" in html
    assert "TTFT: share of requests within" not in charts(html)


def test_a_week_has_whole_numbers_for_its_axis() -> None:
    trial_of_a_week = Trial.of(WORKLOAD, Outcome([record(7.0 * 24 * 3600)], Validity(), HISTORY))
    points = charts(made(trial_of_a_week))["Requests per second"]["series"][0]["points"]
    assert len(points) <= MAX_BUCKETS + 1
    assert all(math.isfinite(value) for point in points for value in point)
