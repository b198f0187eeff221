"""Addresses that outlive an actor: port 0 is settled once, so a restarted actor comes back where it was."""

import socket
from collections.abc import Collection


def settle(address: str) -> str:
    """`address` itself, or with a free port in place of port 0."""
    host, _, port = address.rpartition(":")
    if port != "0":
        return address
    with socket.create_server((host, 0)) as listener:
        return f"{host}:{listener.getsockname()[1]}"


def nth_address(host: str, base_port: int, taken: Collection[str]) -> str:
    """The first address from `base_port` upwards that is not taken, or any free one when `base_port` is 0."""
    if base_port == 0:
        return settle(f"{host}:0")
    port = base_port
    while f"{host}:{port}" in taken:
        port += 1
    return f"{host}:{port}"
