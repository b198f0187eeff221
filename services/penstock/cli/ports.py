"""TCP ports of this machine: a free one, or whether a wanted one is."""

import errno
import random
import socket
from pathlib import Path

from penstock.core.errors import InvalidSettings

FIRST_PORT = 20_000  # of those chosen here
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_NUM_TRIES = 64


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago.

    It is not among those that the system gives to outgoing connections: between now and the moment when a process that
    is still starting binds it, none of them can take it.
    """
    candidates = range(FIRST_PORT, _first_outgoing_port())
    for port in random.sample(candidates, min(_NUM_TRIES, len(candidates))):
        if _is_free(port):
            return port
    with socket.create_server(("127.0.0.1", 0)) as listener:  # a system that gives them all away
        return int(listener.getsockname()[1])


def _first_outgoing_port() -> int:
    try:
        return max(FIRST_PORT, int(_OUTGOING.read_text("ascii").split()[0]))
    except (OSError, ValueError, IndexError):
        return FIRST_PORT


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def require_free(host: str, port: int) -> None:
    """Raise with one sentence unless a server could listen there now."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "it is in use; stop what listens there or choose another --port"
            raise InvalidSettings("port", port, reason) from None
        raise InvalidSettings("host", host, f"cannot listen on {host}:{port}: {error.strerror}") from None
