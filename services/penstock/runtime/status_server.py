"""What a process without an HTTP face tells of itself: /metrics, /health and /ready, on one small HTTP server.

It runs in a thread of its own, so it answers while the event loop is busy, and can tell when the loop is stuck. Nothing
here asks another process: a probe must not restart or hide a worker because its peers are away.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from penstock.core.errors import InvalidSettings

TURN_TIMEOUT_S = 2.0  # a loop that does not turn within this is stuck; shorter than a probe waits for its answer


def serve_status(registry: CollectorRegistry, address: str, is_ready: Callable[[], bool]) -> str:
    """Serve at http://address for the rest of the process; port 0 takes a free one. Call it on the event loop.

    Returns the bound host:port. The thread is a daemon: it needs no shutdown.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise InvalidSettings("metrics_address", address, "must be host:port")
    app = _app(registry, asyncio.get_running_loop(), is_ready)
    try:
        server = make_server(host or "0.0.0.0", int(port), app, _Server, _Handler)
    except OSError as error:
        raise InvalidSettings("metrics_address", address, f"cannot listen there: {error.strerror}") from error
    threading.Thread(target=server.serve_forever, name="status", daemon=True).start()
    return f"{host}:{server.server_port}"


def _app(
    registry: CollectorRegistry, loop: asyncio.AbstractEventLoop, is_ready: Callable[[], bool]
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    def is_alive() -> bool:
        has_turned = threading.Event()
        loop.call_soon_threadsafe(has_turned.set)
        return has_turned.wait(TURN_TIMEOUT_S)

    checks = {"/health": is_alive, "/ready": is_ready}

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            # the plain text format, whatever is asked for: in the other one vLLM's names lose their colon
            start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest(registry)]
        check = checks.get(path)
        if check is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"There is /metrics, /health and /ready.\n"]
        is_fine = check()
        start_response("200 OK" if is_fine else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"yes\n" if is_fine else b"no\n"]

    return app


class _Server(ThreadingMixIn, WSGIServer):
    """A slow reader holds up no probe."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Without a log line per probe."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the standard library names it
        return
