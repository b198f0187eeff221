"""Addresses that outlive an actor: port 0 is settled once, so a restarted actor comes back where it was."""

import os
import socket
from collections.abc import Collection

from penstock.core.errors import InvalidSettings


def settle(address: str) -> str:
    """`address` itself, or with a free port in place of port 0."""
    host, _, port = address.rpartition(":")
    if port != "0":
        return address
    with socket.create_server((host, 0)) as listener:
        return f"{host}:{listener.getsockname()[1]}"


def require_free(address: str) -> None:
    """Raise with one sentence unless a server could listen there now."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError as error:
        raise InvalidSettings("address", address, f"cannot listen there: {os.strerror(error.errno or 0)}") from error


def nth_address(host: str, base_port: int, taken_ports: Collection[int]) -> str:
    """The first port from `base_port` upwards that is not taken, or any free one when `base_port` is 0."""
    if base_port == 0:
        return settle(f"{host}:0")
    port = base_port
    while port in taken_ports:
        port += 1
    return f"{host}:{port}"


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
