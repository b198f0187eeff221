"""Ratios, efforts and the table of headlines."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from benchmarks.headlines.row import Effort, Row
from benchmarks.headlines.table import as_data, chart, table
from penstock.core.errors import InvalidSettings

FASTER = Row("A paper", "2x", "one GPU", baseline=4.0, ours=8.0, combined=10.0, unit="requests/s")
SOONER = Row("Another", "half", "two GPUs", 0.4, 0.2, None, "s", higher_is_better=False, note="no third policy")


@pytest.mark.parametrize(
    ("row", "ratio", "combined_ratio"),
    [(FASTER, 2.0, 2.5), (SOONER, 2.0, None), (Row("P", "c", "s", None, 1.0, 1.0, "s"), None, None)],
)
def test_a_ratio_above_one_is_better_whatever_the_unit(
    row: Row, ratio: float | None, combined_ratio: float | None
) -> None:
    assert (row.ratio, row.combined_ratio) == (ratio, combined_ratio)


def test_a_baseline_of_nothing_has_no_ratio() -> None:
    assert Row("P", "c", "s", 0.0, 1.0, 1.0, "requests/s").ratio is None


def test_a_short_effort_runs_fewer_requests() -> None:
    assert Effort(is_full=False).num_requests(300, 30) == 30
    assert Effort(is_full=True).num_requests(300, 30) == 300


def test_a_trace_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"some_trace\.csv"):
        Effort(True, tmp_path).trace("some_trace.csv")
    (tmp_path / "some_trace.csv").touch()
    assert Effort(True, tmp_path).trace("some_trace.csv").is_file()


def test_the_table_shows_every_value_and_ratio() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table([FASTER, SOONER]))
    for shown in ("A paper", "requests/s", "2.00x", "2.50x", "no third policy"):
        assert shown in captured.get()


def test_data_and_chart_hold_every_row() -> None:
    assert [row["ratio"] for row in as_data([FASTER, SOONER])] == [2.0, 2.0]
    drawn = ElementTree.fromstring(chart([FASTER, SOONER]))
    bars = [bar for bar in drawn.iter("{http://www.w3.org/2000/svg}rect") if bar.get("height") == "8" and bar.get("x")]
    assert len(bars) == 2 + 3  # the legend's two, and one for each ratio
