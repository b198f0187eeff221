"""Log lines, for people and for collectors."""

import contextvars
import json
import logging
from collections.abc import Iterator

import pytest

from penstock.runtime.telemetry import configure_logging, set_request_id


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


def test_lines_say_whose_request_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    def handle(request_id: str) -> None:
        set_request_id(request_id)
        log.info("routed")
        log.info("handed over", extra={"request_id": "another"})

    log = logging.getLogger("penstock.gateway")
    configure_logging("gateway", "info", json=True)
    contextvars.copy_context().run(handle, "r-1")
    log.info("nobody's")
    entries = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [entry.get("request_id") for entry in entries] == ["r-1", "another", None]
    configure_logging("gateway", "info")
    contextvars.copy_context().run(handle, "r-1")
    first, second = capsys.readouterr().err.splitlines()
    assert "[r-1] routed" in first and "[another] handed over" in second


def test_figures_become_fields(capsys: pytest.CaptureFixture[str]) -> None:
    extra = {"figures": {"ttft_s": 0.25, "code": ""}}
    configure_logging("gateway", "info", json=True)
    logging.getLogger("penstock").info("ended", extra=extra)
    assert json.loads(capsys.readouterr().err)["ttft_s"] == 0.25
    configure_logging("gateway", "info")
    logging.getLogger("penstock").info("ended", extra=extra)
    assert capsys.readouterr().err.endswith("ended ttft_s=0.25\n")
