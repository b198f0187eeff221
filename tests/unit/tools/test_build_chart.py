"""The chart's generated parts: settings as the schema has them, the table of values, copies of rules and dashboards."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.runtime.settings import GatewaySettings, WorkerSettings
from tools import build_chart
from tools.build_chart import camel_case, property_of, rows


def property_named(cls: type, name: str) -> dict[str, Any]:
    (field,) = (field for field in dataclasses.fields(cls) if field.name == name)
    return property_of(field)


def test_names_are_camel_case() -> None:
    assert [camel_case(name) for name in ("port", "max_queue_s", "kv_memory_bytes")] == [
        "port",
        "maxQueueS",
        "kvMemoryBytes",
    ]


def test_a_setting_keeps_its_type_its_bounds_and_its_choices() -> None:
    assert property_named(GatewaySettings, "max_queue_s") | {"description": ""} == {
        "description": "",
        "type": "number",
        "minimum": 0,
    }
    assert property_named(WorkerSettings, "allow_tcp")["type"] == "boolean"
    assert property_named(WorkerSettings, "engine")["enum"] == ["torch", "mock"]
    assert property_named(WorkerSettings, "transports")["items"] == {"enum": ["ucx", "shared_memory", "tcp"]}
    assert property_named(WorkerSettings, "kv_memory_bytes")["type"] == ["integer", "string"]


def test_the_meaning_names_the_default_of_the_code() -> None:
    assert property_named(GatewaySettings, "max_queue_s")["description"].endswith("before 429 (30.0 in the code)")


def test_the_table_has_a_line_for_each_value_however_deep() -> None:
    schema = {
        "properties": {
            "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/switch", "description": "one | two"}}}
        },
        "$defs": {"switch": {"type": "boolean", "description": "not this"}},
    }
    assert list(rows(schema, {"a": {"b": False}})) == ["| `a.b` | boolean | `false` | one \\| two |"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a chart of one value, rules, Prometheus's own configuration, and a dashboard."""
    chart = tmp_path / "charts" / "penstock"
    (tmp_path / "deploy" / "prometheus").mkdir(parents=True)
    (tmp_path / "deploy" / "grafana").mkdir()
    chart.mkdir(parents=True)
    (chart / "values.schema.json").write_text(json.dumps({"properties": {"a": {"type": "integer"}}, "$defs": {}}))
    (chart / "values.yaml").write_text("a: 1\n")
    (chart / "README.md").write_text("<!-- values -->\n<!-- end of values -->\n")
    (tmp_path / "deploy" / "prometheus" / "alerts.yaml").write_text("groups: []\n")
    (tmp_path / "deploy" / "prometheus" / "prometheus.yml").write_text("scrape_configs: []\n")
    (tmp_path / "deploy" / "grafana" / "overview.json").write_text("{}\n")
    monkeypatch.setattr(build_chart, "ROOT", tmp_path)
    monkeypatch.setattr(build_chart, "CHART", chart)
    return tmp_path


def test_what_was_written_is_fresh_and_any_change_makes_it_stale(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_chart.main(["--check"]) == 1
    assert build_chart.main([]) == 0 and build_chart.main(["--check"]) == 0
    files = repository / "charts" / "penstock" / "files"
    assert [path.name for path in sorted(files.rglob("*.*"))] == ["overview.json", "alerts.yaml"]
    (repository / "deploy" / "grafana" / "overview.json").write_text('{"title": "new"}\n')
    capsys.readouterr()
    assert build_chart.main(["--check"]) == 1
    assert capsys.readouterr().err == "charts/penstock/files/dashboards/overview.json is stale: run `make chart`\n"


def test_a_copy_whose_source_is_gone_is_stale_and_removed(repository: Path) -> None:
    build_chart.main([])
    (repository / "deploy" / "grafana" / "overview.json").unlink()
    assert build_chart.main(["--check"]) == 1
    build_chart.main([])
    assert not list((repository / "charts").rglob("overview.json"))
