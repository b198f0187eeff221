"""Unit tests open no sockets and never sleep: both raise here, so a test that needs them shows where it belongs."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import NoReturn

import grpc
import pytest

_really_sleep = asyncio.sleep
_really_open = socket.socket.__init__


class NotInUnitTests(AssertionError):
    """The test belongs in tests/contract or tests/integration, or the code in it should be given a fake."""


def _refuse(*_args: object, **_kwargs: object) -> NoReturn:
    raise NotInUnitTests("unit tests neither open sockets nor sleep; pass a fake, or move the test to tests/contract")


def _only_descriptors(
    self: socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
) -> None:
    """Wrapping what is open already is fine: an event loop wakes itself through a socketpair."""
    if fileno is None:
        _refuse()
    _really_open(self, family, type, proto, fileno)


async def _yield_only(delay: float, result: object = None) -> object:
    """sleep(0) lets other tasks run and takes no time; anything longer is refused."""
    return await _really_sleep(0, result) if delay <= 0 else _refuse()


@pytest.fixture(autouse=True, scope="module")
def no_sockets_no_sleep() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(socket.socket, "__init__", _only_descriptors)
        for name in ("server", "insecure_channel", "secure_channel"):  # gRPC's own sockets are out of Python's sight
            monkeypatch.setattr(grpc.aio, name, _refuse)
        monkeypatch.setattr(time, "sleep", _refuse)
        monkeypatch.setattr(asyncio, "sleep", _yield_only)
        yield
