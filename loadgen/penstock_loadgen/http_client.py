"""A streaming HTTP/1.1 client that costs a few microseconds per event, so that the load, not the client, is measured.

One connection carries one request at a time and is kept alive. Times are taken when bytes arrive, before anything is
parsed or scheduled.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools


class Exchange:
    """One request and its answer."""

    __slots__ = ("body", "done", "error", "event_times_s", "keeps_body", "status")

    def __init__(self, keeps_body: bool = False) -> None:
        self.status = 0
        self.event_times_s: list[float] = []  # arrival of each server-sent event but [DONE]
        self.error: str = ""
        self.body = bytearray()  # of a failed request, or of any when `keeps_body`
        self.keeps_body = keeps_body
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_success(self) -> bool:
        return self.status == 200 and not self.error


class _Connection(asyncio.Protocol):
    """Callbacks of the transport and of the parser."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes, exchange: Exchange) -> None:
        assert self._transport is not None and self._exchange is None, "one request at a time"
        self._exchange = exchange
        self._transport.write(data)

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(f"connection lost: {error or 'closed by the server'}")

    # --- httptools ---

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.status = self._parser.get_status_code()
        if exchange.status != 200 or exchange.keeps_body:
            exchange.body += body
        num_events = body.count(b"data: ") - body.count(b"data: [DONE]")
        if num_events:
            exchange.event_times_s += [self._now_s()] * num_events

    def on_message_complete(self) -> None:
        if self._exchange:
            self._exchange.status = self._parser.get_status_code()
        self._finish("")
        if not self._parser.should_keep_alive():
            self.close()
        self._parser = httptools.HttpResponseParser(self)

    def _finish(self, error: str) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange and not exchange.done.done():
            exchange.error = error
            exchange.done.set_result(None)


class StreamingClient:
    """Connections to one server, reused."""

    def __init__(self, host: str, port: int, now_s: Callable[[], float]) -> None:
        self._host = host
        self._port = port
        self._now_s = now_s
        self._idle: list[_Connection] = []

    async def post(self, path: str, body: bytes, *, keeps_body: bool = False) -> Exchange:
        """Send a JSON body and return when the whole answer is here."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        exchange = Exchange(keeps_body)
        try:
            connection = await self._connection()
        except OSError as error:
            exchange.error = f"cannot connect: {error}"
            return exchange
        connection.send(head.encode() + body, exchange)
        try:
            await exchange.done
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.is_open:
            self._idle.append(connection)
        return exchange

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self._now_s), self._host, self._port)
        return connection
