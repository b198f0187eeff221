"""Scenario files: overrides, sweeps, and refusals."""

from pathlib import Path
from typing import Any

import pytest

from penstock.cli.experiment import points, read_file, with_overrides
from penstock.core.errors import InvalidSettings
from penstock.core.types import Role

SCENARIOS = Path(__file__).parents[3] / "scenarios"

RAW: dict[str, Any] = {"pools": [{"role": "mixed", "count": 1}], "workload": {"num_requests": 5}}


@pytest.mark.parametrize("path", sorted(SCENARIOS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(SCENARIOS)))
def test_every_shipped_scenario_is_understood(path: Path) -> None:
    for point in points(read_file(path)):
        assert [pool.plan().num_blocks for pool in point.scenario.pools]
        assert point.scenario.name != "scenario"


def test_overrides_reach_into_mappings_and_lists() -> None:
    changed = with_overrides(RAW, ["pools.0.count=4", "pools.0.role=decode", "slo.ttft_s=0.5", "workload.seed=9"])
    point = next(points(changed))
    assert (point.scenario.pools[0].count, point.scenario.pools[0].role) == (4, Role.DECODE)
    assert (point.scenario.slo.ttft_s, point.workload.seed) == (0.5, 9)
    assert RAW["pools"][0]["count"] == 1


def test_a_sweep_is_one_point_for_each_value() -> None:
    found = list(points({**RAW, "sweep": {"key": "workload.arrivals.rate", "values": [1, 2.5]}}))
    assert [(point.key, point.value, point.workload.arrivals.rate) for point in found] == [
        ("workload.arrivals.rate", 1.0, 1.0),
        ("workload.arrivals.rate", 2.5, 2.5),
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pools.0"], "KEY=VALUE"),
        (["pools.3.count=1"], r"position from 0 to 0"),
        (["pools.first.count=1"], r"position from 0 to 0"),
        (["workload.num_requests.more=1"], "neither a mapping nor a list"),
        (["workload.sead=1"], r"workload\.sead"),
        (["sweep.key=name"], "sweep.*values"),
    ],
)
def test_what_cannot_be_set_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message):
        list(points(with_overrides(RAW, overrides)))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="missing"):
        read_file(tmp_path / "missing.yaml")
    for text, message in (("a: [", "no YAML"), ("- 1", "mapping")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(InvalidSettings, match=message):
            read_file(tmp_path / "bad.yaml")
