"""The commands that probes run."""

import pytest

from penstock.cli.probes import run_command


@pytest.mark.parametrize("command", [("no-such-command",), ("false",), ("sh", "-c", "exit 3")])
def test_a_command_that_is_missing_or_fails_says_nothing(command: tuple[str, ...]) -> None:
    assert run_command(command, {}) == ""


def test_a_command_gets_its_environment() -> None:
    assert run_command(("sh", "-c", "echo $PENSTOCK_PROBE"), {"PENSTOCK_PROBE": "here"}) == "here\n"
