"""What a process tells about itself in log lines."""

import logging
import sys
from datetime import UTC, datetime

import orjson


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, for log collectors."""

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
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


def configure_logging(process: str, level: str = "info", json: bool = False) -> None:
    """Send all log records to stderr. `process` is what JSON lines call this one, such as "gateway" or a worker id."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonFormatter(process) if json else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "asyncio", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
