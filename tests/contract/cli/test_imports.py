"""What is loaded when: torch and Ray take seconds and hundreds of megabytes, so only those who need them pay."""

import subprocess
import sys

import pytest

LIGHT = ("up", "status", "chat", "drain", "doctor", "gateway", "eval")


@pytest.mark.parametrize("command", LIGHT)
def test_light_commands_load_neither_torch_nor_ray(command: str) -> None:
    code = f"import sys, penstock.cli.{command}; print(*{{'torch', 'ray', 'transformers', 'ucxx'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == ""


def test_the_scheduler_loads_no_torch() -> None:
    code = "import sys, penstock.cli.scheduler; print(*{'torch', 'transformers', 'ucxx'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == ""
