"""`penstock simulate`, from the file to the table, the JSON and the plots."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from penstock.cli.main import main
from penstock.runtime.lifecycle import EXIT_UNUSABLE

SCENARIO = """
name: test cluster
slo: {ttft_s: 0.3, tpot_s: 0.02}
pools:
  - {role: prefill}
  - {role: decode}
workload: {num_requests: 60, arrivals: {rate: 10}}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return path


def simulate(*arguments: object) -> int:
    try:
        return main(["simulate", *map(str, arguments)])
    except SystemExit as ended:  # typer's way to end a command
        return int(ended.code or 0)


def test_one_run_shows_stages_pools_and_timelines(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, plot = scenario.with_suffix(".json"), scenario.with_suffix(".svg")
    assert simulate(scenario, "--json", data, "--svg", plot) == 0
    out = capsys.readouterr().out
    assert "test cluster" in out
    assert all(word in out for word in ("100.0%", "transfer", "prefill", "decode", "KV moved"))
    (run,) = json.loads(data.read_text())
    assert run["requests"]["num_finished"] == 60
    assert run["latencies"]["ttft_s"]["count"] == 60
    assert run["history"]["decode"]
    titles = [text.text for text in ElementTree.fromstring(plot.read_text()).iter() if text.tag.endswith("text")]
    assert "KV blocks referenced" in titles


def test_a_sweep_shows_attainment_against_its_values(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, plot = scenario.with_suffix(".json"), scenario.with_suffix(".svg")
    sweep = "sweep={key: workload.arrivals.rate, values: [5, 500]}"
    assert simulate(scenario, "--set", sweep, "--json", data, "--svg", plot) == 0
    slow, fast = json.loads(data.read_text())
    assert (slow["key"], slow["value"], fast["value"]) == ("workload.arrivals.rate", 5.0, 500.0)
    assert slow["attainment"] == 1.0 > fast["attainment"]
    assert "SLO attainment" in plot.read_text()
    assert "500" in capsys.readouterr().out


def test_a_mistake_is_one_sentence(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(scenario, "--set", "pools.0.gpus=3") == EXIT_UNUSABLE
    assert capsys.readouterr().err.startswith("Bad setting pools.0.gpus=3: no such key; there are role, count")


def test_a_file_that_cannot_be_written_is_named(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(scenario, "--json", scenario.parent / "no" / "where.json") == EXIT_UNUSABLE
    assert "where.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("workload.slo.ttft_s=1", "workload.slo"),
        ("workload.warm_up_s=5", "workload.warm_up_s"),
        ("workload.classes=[{name: chat, slo: {ttft_s: 1}}]", "workload.classes.chat.slo"),
    ],
)
def test_what_only_a_benchmark_judges_by_is_refused(
    scenario: Path, setting: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(scenario, "--set", setting) == EXIT_UNUSABLE
    assert f"{key}=" in capsys.readouterr().err
