"""Answers as the connection sees them, byte by byte."""

import asyncio
from typing import cast

import pytest

from penstock_loadgen.exchange import CUT, Exchange
from penstock_loadgen.http_client import _Connection


class _Transport:
    """Takes everything."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("answer", "error", "kind"),
    [
        (b"HTTP/1.1 503 Unavailable\r\n\r\nbusy", None, "http_503"),
        (b"HTTP/1.1 503 Unavailable\r\n\r\nbu", ConnectionResetError("reset"), CUT),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n", None, CUT),
        (b"HTTP/1.1 503", None, CUT),
    ],
)
async def test_an_answer_without_a_length_ends_with_its_connection(
    answer: bytes, error: Exception | None, kind: str
) -> None:
    connection, exchange = _Connection(lambda: 1.0), Exchange()
    connection.connection_made(cast(asyncio.Transport, _Transport()))
    connection.send(b"", exchange)
    connection.data_received(answer)
    connection.connection_lost(error)
    assert exchange.kind == kind
