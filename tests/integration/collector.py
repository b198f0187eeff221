"""A collector of traces on a loopback port: takes OTLP over HTTP in JSON, as Jaeger and Tempo do."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Collected:
    """A span and the process it ran in."""

    service: str
    span: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.span["name"])

    @property
    def began_ns(self) -> int:
        return int(self.span["startTimeUnixNano"])

    @property
    def ended_ns(self) -> int:
        return int(self.span["endTimeUnixNano"])


class Collector:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Collected] = []

    def of_trace(self, trace_id: str) -> list[Collected]:
        return [collected for collected in list(self.spans) if collected.span["traceId"] == trace_id]

    def take(self, body: bytes) -> None:
        for resource in json.loads(body)["resourceSpans"]:
            attributes = {entry["key"]: entry["value"] for entry in resource["resource"]["attributes"]}
            service = attributes["service.name"]["stringValue"]
            self.spans += [Collected(service, span) for scope in resource["scopeSpans"] for span in scope["spans"]]


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Serves until the end of the block."""
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            is_right = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if is_right:
                collector.take(body)
            self.send_response(200 if is_right else 404)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Tests have logs enough."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
