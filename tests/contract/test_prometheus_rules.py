"""The rules that ship, by Prometheus's own tool."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here: apt-get install prometheus"
)


def promtool(*arguments: str | Path) -> None:
    answer = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def names(pattern: str, *paths: Path) -> set[str]:
    return {name for path in paths for name in re.findall(pattern, path.read_text())}


@needs_promtool
def test_rules_and_configuration_are_valid() -> None:
    promtool("check", "rules", FOLDER / "recording.yaml", FOLDER / "alerts.yaml")
    promtool("check", "config", FOLDER / "prometheus.yaml")


@needs_promtool
@pytest.mark.parametrize("path", sorted((FOLDER / "tests").glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_otherwise(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_is_tested() -> None:
    alerts = names(r"- alert: (\w+)", FOLDER / "alerts.yaml")
    assert alerts
    assert alerts == names(r'alertname(?:: |=")(\w+)', *(FOLDER / "tests").glob("*.yaml"))
