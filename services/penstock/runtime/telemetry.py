"""What a process tells about itself in log lines."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def set_request_id(request_id: str) -> None:
    """Every line this task logs from now on, and every task it starts, says whose it is."""
    _request_id.set(request_id)


def request_of(record: logging.LogRecord) -> str:
    """What the line itself says (`extra={"request_id": ...}`), else what its task is about."""
    return str(getattr(record, "request_id", "") or _request_id.get())


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, for log collectors. `extra={"figures": {...}}` becomes fields of it."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := request_of(record):
            entry["request_id"] = request_id
        entry |= getattr(record, "figures", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


class _TextFormatter(logging.Formatter):
    """For people: time, level, logger, whose request, sentence, figures."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(request)s%(message)s%(shown)s", "%H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        request_id = request_of(record)
        record.request = f"[{request_id}] " if request_id else ""
        figures = getattr(record, "figures", {})
        record.shown = "".join(f" {key}={value}" for key, value in figures.items() if value not in ("", 0))
        return super().format(record)


def configure_logging(process: str, level: str = "info", json: bool = False) -> None:
    """Send all log records to stderr. `process` is what JSON lines call this one, such as "gateway" or a worker id."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(process) if json else _TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "asyncio", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
