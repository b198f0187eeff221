"""The `penstock` command: help, unknown commands, exit statuses."""

import importlib
from types import SimpleNamespace

import pytest

from penstock.cli.main import COMMANDS, main
from penstock.core.errors import InvalidSettings, PenstockError, WorkerLost
from penstock.runtime.lifecycle import EXIT_FAILED, EXIT_UNUSABLE


@pytest.mark.parametrize(("argv", "status"), [([], 0), (["--help"], 0), (["fly"], 2)])
def test_help_lists_every_command(argv: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == status
    out, err = capsys.readouterr()
    assert all(command in (err if status else out) for command in COMMANDS)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("penstock ")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (WorkerLost("Nothing answers."), EXIT_FAILED),
        (InvalidSettings("port", 1, "it is in use"), EXIT_UNUSABLE),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_failure_is_one_sentence_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    def fail(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(main=fail))
    assert main(["status"]) == status
    sentence = error.message if isinstance(error, PenstockError) else ""
    assert capsys.readouterr().err.strip() == sentence
