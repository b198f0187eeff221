"""Sheets, tables and the report of `make bench-epd`, and the requests it sends."""

import json
import re
from typing import Any

import pytest
from rich.console import Console

from benchmarks.epd.figures import Sheet, body, head, images_line
from benchmarks.epd.loads import Picture, again, one_at_a_time, open_loop
from benchmarks.epd.report import as_page, as_text, charts
from penstock_loadgen.exchange import CUT
from penstock_loadgen.images import data_urls
from penstock_loadgen.targets import Outcome
from penstock_loadgen.validity import Validity
from penstock_loadgen.workload import sessions
from tests.unit.loadgen.records import record

PICTURE = Picture(28, 56)


def sheet() -> Sheet:
    made = Sheet("Images <per> request", "a note", "images", ("ours", "theirs"))
    for number, ours, theirs in ((1, 0.5, 0.5), (8, 1.0, 3.0)):
        made.cell(number, "ours").ttft_s += [ours, ours, ours * 2]
        made.cell(number, "theirs").ttft_s += [theirs] * 3
    return made


def test_a_ratio_says_how_many_times_longer_the_last_side_takes() -> None:
    made = sheet()
    assert [made.ratio(x, "ours") for x in (1, 8)] == [1.0, 3.0]
    assert made.ratio(8, "theirs") == 1.0
    assert made.ratio(4, "ours") is None  # nobody was asked


def test_the_table_has_a_line_for_each_row_and_a_cell_under_each_head() -> None:
    made = sheet()
    made.cell(8, "theirs").num_failed = 2
    assert {len(cells) for cells in body(made)} == {len(head(made))}
    assert body(made)[1][:2] == ["8", "1.000"]
    assert body(made)[1][-4:] == ["3.00", "1.67", "8", "2"]


def test_a_side_that_answered_nothing_is_shown_as_such() -> None:
    made = Sheet("t", "n", "images", ("ours", "theirs"))
    made.cell(1, "ours").num_failed += 1
    made.cell(1, "theirs").ttft_s.append(0.1)
    assert body(made) == [["1", "-", "-", "0.100", "0.100", "-", "-", "2", "1"]]
    assert made.cell(1, "ours").mean_s == float("inf")
    json.dumps(made.as_data(), allow_nan=False)


def test_runs_are_gathered_by_row_with_what_was_encoded() -> None:
    made = Sheet("t", "n", "th request", ("ours", "theirs"))
    load = again(made, PICTURE, are_words_first=True, num_requests=2)
    outcome = Outcome(
        [record(0.0, session=0), record(1.0, session=1), record(2.0, session=1, kind=CUT)], Validity(("it was late",))
    )
    load.record("ours", outcome, num_encoded=4)
    assert {x: len(made.cell(x, "ours").ttft_s) for x in made.rows} == {1.0: 1, 2.0: 1}
    assert made.cell(2.0, "ours").num_failed == 1
    assert images_line(made) == "ours: 4 encoded of 12 images"
    assert (made.num_runs, made.invalid) == (1, ["ours: it was late"])


def test_the_report_draws_every_sheet_and_says_what_is_invalid() -> None:
    made = sheet()
    made.num_runs, made.invalid = 3, ["ours: late", "theirs: late too"]
    html = as_page([made], ["a machine"])
    found = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]
    assert found == json.loads(json.dumps(charts(made)))
    assert found[1]["series"][0]["points"] == [[1.0, 1.0], [8.0, 3.0]]
    assert "Images &lt;per&gt; request" in html and "a machine" in html
    late = "In 2 of 3 runs the client was late, as in ours: late"
    assert late in html
    console = Console(width=140)
    with console.capture() as captured:
        console.print(as_text(made))
    assert "ours p50" in captured.get() and late in captured.get()


def test_one_row_is_drawn_as_points() -> None:
    made = Sheet("t", "n", "images", ("ours", "theirs"))
    made.cell(1, "ours").ttft_s.append(0.1)
    [chart] = charts(made)
    assert [series["kind"] for series in chart["series"]] == ["points"] * 4


def pictures(load: Any, seed: int = 3) -> list[tuple[str, ...]]:
    return [data_urls(session, seed) for session in sessions(load.workload(seed))]


def test_new_pictures_are_new_in_every_request_and_round_and_the_same_for_each_side() -> None:
    load = one_at_a_time(sheet(), PICTURE, 4, 2)
    shown = [url for seed in (0, 1) for urls in pictures(load, seed) for url in urls]
    assert len(set(shown)) == len(shown) == 16
    assert pictures(load) == pictures(load)


@pytest.mark.parametrize(("are_words_first", "place"), [(True, "after"), (False, "before")])
def test_the_same_pictures_are_asked_about_again(are_words_first: bool, place: str) -> None:
    load = again(sheet(), PICTURE, are_words_first, 3)
    first, *others = pictures(load)
    assert len(set(first)) == load.num_images and others == [first] * 2
    assert set(first).isdisjoint(pictures(load, seed=4)[0])
    assert {one.images.place for one in load.workload(0).classes} == {place}


def test_an_open_loop_is_bounded_by_its_time() -> None:
    load = open_loop(sheet(), PICTURE, 1, rate=2.0, duration_s=20.0)
    assert len(list(sessions(load.workload(0)))) == pytest.approx(40, abs=20)
    assert load.row_of(record(0.0)) == 2.0
