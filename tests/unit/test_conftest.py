"""The guard that keeps unit tests away from sockets and sleep."""

import asyncio
import socket
import time
from collections.abc import Callable

import grpc
import pytest


@pytest.mark.parametrize(
    "act",
    [
        lambda: time.sleep(0.001),
        lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        lambda: socket.create_server(("127.0.0.1", 0)),
        lambda: grpc.aio.insecure_channel("127.0.0.1:9"),
        lambda: grpc.aio.server(options=()),
    ],
)
def test_sockets_and_sleep_raise(act: Callable[[], object]) -> None:
    with pytest.raises(AssertionError, match="unit tests neither"):
        act()


async def test_asyncio_sleep_raises_unless_it_takes_no_time() -> None:
    await asyncio.sleep(0)
    with pytest.raises(AssertionError, match="unit tests neither"):
        await asyncio.sleep(0.001)
