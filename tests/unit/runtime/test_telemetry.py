"""Log lines, for people and for collectors."""

import json
import logging
from collections.abc import Iterator

import pytest

from penstock.runtime.telemetry import configure_logging


@pytest.fixture(autouse=True)
def restored_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text_lines_name_level_and_logger(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("decode-0", "info")
    logging.getLogger("penstock.decode").info("%d blocks", 3)
    logging.getLogger("penstock.decode").debug("hidden")
    line = capsys.readouterr().err
    assert "INFO" in line and "3 blocks" in line and "hidden" not in line


def test_json_lines_hold_process_message_and_exception(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("decode-0", "warning", json=True)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("penstock.decode").exception("a step\nfailed")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["process"], entry["level"], entry["message"]) == ("decode-0", "error", "a step\nfailed")
    assert "ValueError: broken" in entry["exception"]
    assert entry["time"].endswith("+00:00")
