"""What a process tells about itself: log lines and /metrics."""

import logging
import sys
from datetime import UTC, datetime

import orjson
from prometheus_client import CollectorRegistry, start_http_server

from penstock.core.errors import InvalidSettings


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


def serve_metrics(registry: CollectorRegistry, address: str) -> str:
    """Serve `registry` at http://address/metrics for the rest of the process; port 0 takes a free one.

    Returns the bound host:port. Runs in a daemon thread: a scrape waits for no event loop and needs no shutdown.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise InvalidSettings("metrics_address", address, "must be host:port")
    try:
        server, _thread = start_http_server(int(port), host or "0.0.0.0", registry)
    except OSError as error:
        raise InvalidSettings("metrics_address", address, f"cannot listen there: {error.strerror}") from error
    return f"{host}:{server.server_port}"
