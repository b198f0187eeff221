"""Trials together: goodput by bisection, and what goes into files."""

import json
from pathlib import Path

import pytest

from penstock.core.errors import InvalidSettings
from penstock_loadgen.experiment import Experiment, Trial, search_goodput
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.results import read_result, write_results
from penstock_loadgen.targets import Outcome
from penstock_loadgen.validity import Validity
from penstock_loadgen.workload import WorkloadSpec
from tests.unit.loadgen.records import record

WORKLOAD = WorkloadSpec(num_requests=40, name="test")
SIMULATED = {"kind": "simulated", "scenario": "x", "pools": ["1 mixed"]}


def trial(rate: float, max_rate: float, validity: Validity | None = None) -> Trial:
    """Requests attain their objectives up to `max_rate`, and from there ever fewer do."""
    share = min(1.0, (max_rate / rate) ** 2)
    ttfts_s = [0.1 if index < 100 * share else 0.5 for index in range(100)]
    records: list[RequestRecord] = [record(index / rate, ttft_s) for index, ttft_s in enumerate(ttfts_s)]
    return Trial.of(WORKLOAD.at_rate(rate), Outcome(records, validity or Validity()))


def test_goodput_is_the_highest_rate_that_attains() -> None:
    found = search_goodput(lambda rate: trial(rate, 10.0), 3.0, goal=0.9, precision=0.02)
    assert found.rate == pytest.approx(10.0 / 0.9**0.5, rel=0.03)
    assert found.attained >= 0.9
    assert [probe.rate for probe in found.probes] == sorted(probe.rate for probe in found.probes)


def test_a_rate_that_the_client_cannot_send_is_not_attained() -> None:
    late = Validity(("late",))
    found = search_goodput(lambda rate: trial(rate, 100.0, late if rate > 5 else None), 4.0, goal=0.9, precision=0.1)
    assert 4.0 <= found.rate <= 5.0
    assert any(not probe.is_valid for probe in found.probes)


def test_a_result_is_written_and_read_back(tmp_path: Path) -> None:
    trials = [trial(5.0, 10.0), trial(5.0, 1.0)]
    write_results(tmp_path, Experiment.of(WORKLOAD, SIMULATED, trials), trials)
    result = read_result(tmp_path)
    assert len(result.figures) == 2
    assert [len(rows) for rows in result.requests] == [100, 100]
    assert result.figures[0]["attainment"] == 1.0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["workload"]["duration_s"] is None
    assert summary["repeats"][1]["summary"]["latencies"]["ttft_s"]["p95"] == pytest.approx(0.5)


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        read_result(tmp_path / "nothing")
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(InvalidSettings, match="no result"):
        read_result(tmp_path)
