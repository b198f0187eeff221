"""A streaming HTTP/1.1 client that costs a few microseconds per event, so that the load, not the client, is measured.

One connection carries one request at a time and is kept alive. Times are taken when bytes arrive, before anything is
parsed or scheduled.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from typing import cast

import httptools

from penstock_loadgen.exchange import CANCELLED, CONNECT, CUT, TIMEOUT, Exchange

CONNECT_TIMEOUT_S = 10.0
TIMEOUT_S = 600.0  # of a whole answer
_STALE = "stale"  # nobody's fault: the request is sent once more


class _Connection(asyncio.Protocol):
    """Callbacks of the transport and of the parser."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._received_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self._has_answered = False  # an older request: a server may close such a connection at any time

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes, exchange: Exchange) -> None:
        assert self._transport is not None and self._exchange is None, "one request at a time"
        self._exchange = exchange
        self._transport.write(data)

    def close(self) -> None:
        self._exchange = None
        if self._transport:
            self._transport.abort()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._received_s = self._now_s()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(CUT, f"the answer is no HTTP: {error}")
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        # an answer without a length ends with its connection
        exchange = self._exchange
        if exchange is not None and error is None and (exchange.is_whole or exchange.status not in (0, 200)):
            exchange.end_of_message(self._now_s())
            self._exchange = None
        if exchange is not None and self._has_answered and not exchange.status:
            self._finish(_STALE, "the server closed an idle connection")
        self._finish(CUT, f"connection lost: {error or 'closed by the server'}")

    # --- httptools ---

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._exchange is None:
            return
        name = name.lower()
        if name == b"content-type":
            self._exchange.is_stream = value.startswith(b"text/event-stream")
        elif name == b"retry-after":
            with contextlib.suppress(ValueError):  # it may also be a date; then the client's own patience counts
                self._exchange.retry_after_s = float(value)

    def on_headers_complete(self) -> None:
        if self._exchange:
            self._exchange.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.read(body, self._received_s)
        if exchange.has_enough:
            self._finish(CANCELLED, "")
            self.close()

    def on_message_complete(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange:
            exchange.end_of_message(self._received_s)
        self._has_answered = True
        if not self._parser.should_keep_alive():
            self.close()
        self._parser = httptools.HttpResponseParser(self)

    def _finish(self, kind: str, error: str) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange:
            exchange.finish(kind, error, self._now_s())


class StreamingClient:
    """Connections to one server, reused. `tls` is for https."""

    def __init__(
        self, host: str, port: int, now_s: Callable[[], float], tls: ssl.SSLContext | None = None, prefix: str = ""
    ) -> None:
        self._host = host
        self._port = port
        self._now_s = now_s
        self._tls = tls
        self._prefix = prefix  # of every path
        self._idle: list[_Connection] = []

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        keeps_body: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Exchange:
        """Send a JSON body and return when the whole answer is here."""
        exchange = Exchange(keeps_body=keeps_body)
        await self.send(exchange, self.head("POST", path, len(body), headers) + body, timeout_s)
        return exchange

    async def get(self, path: str, headers: Mapping[str, str] | None = None, timeout_s: float = 5.0) -> Exchange:
        """The answer's body is kept."""
        exchange = Exchange(keeps_body=True)
        await self.send(exchange, self.head("GET", path, 0, headers), timeout_s)
        return exchange

    def head(self, method: str, path: str, num_bytes: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Everything before the body."""
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        return (
            f"{method} {self._prefix}{path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{more}"
            f"Content-Type: application/json\r\nContent-Length: {num_bytes}\r\n\r\n"
        ).encode()

    async def send(self, exchange: Exchange, data: bytes, timeout_s: float = TIMEOUT_S) -> None:
        """Send a request, head and body in `data`, and return when `exchange` has ended."""
        exchange.sent_s = self._now_s()
        is_sent = False
        try:
            async with asyncio.timeout(timeout_s):
                while not is_sent or exchange.kind == _STALE:
                    exchange.renew()
                    connection = await self._connection()
                    is_sent = True
                    await self._converse(connection, exchange, data)
        except TimeoutError:
            error = f"no whole answer within {timeout_s} s" if is_sent else "connecting takes too long"
            exchange.finish(TIMEOUT if is_sent else CONNECT, error, self._now_s())
        except OSError as error:
            exchange.finish(CONNECT, f"cannot connect: {error}", self._now_s())

    async def _converse(self, connection: _Connection, exchange: Exchange, data: bytes) -> None:
        connection.send(data, exchange)
        try:
            await exchange.done
        finally:  # a request that was left cannot share its connection with another
            if exchange.is_over and exchange.kind not in (CANCELLED, CUT, _STALE) and connection.is_open:
                self._idle.append(connection)
            else:
                connection.close()

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
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await loop.create_connection(
                lambda: _Connection(self._now_s), self._host, self._port, ssl=self._tls
            )
        return connection
