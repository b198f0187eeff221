"""TCP ports of this machine: a free one, or whether a wanted one is."""

import errno
import socket

from penstock.core.errors import InvalidSettings


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def require_free(host: str, port: int) -> None:
    """Raise with one sentence unless a server could listen there now."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "it is in use; stop what listens there or choose another --port"
            raise InvalidSettings("port", port, reason) from None
        raise InvalidSettings("host", host, f"cannot listen on {host}:{port}: {error.strerror}") from None
