"""The rules that ship, by Prometheus's own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here: apt-get install prometheus")


def promtool(*arguments: str | Path) -> None:
    answer = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_rules_and_configuration_are_valid() -> None:
    promtool("check", "rules", FOLDER / "recording.yaml", FOLDER / "alerts.yaml")
    promtool("check", "config", FOLDER / "prometheus.yaml")


@pytest.mark.parametrize("path", sorted((FOLDER / "tests").glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_otherwise(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_is_tested() -> None:
    alerts = [line.split()[-1] for line in (FOLDER / "alerts.yaml").read_text().splitlines() if "- alert:" in line]
    tests = "".join(path.read_text() for path in (FOLDER / "tests").glob("*.yaml"))
    assert alerts
    assert not [alert for alert in alerts if alert not in tests]
