"""One HTTP request and its answer, straight on ASGI: nothing is wrapped, so a token costs one `send`."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

import orjson

from penstock.core.errors import RequestCancelled, RequestTooLarge
from penstock.gateway.tasks import first_error

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Result = TypeVar("Result")

_JSON = b"application/json"
_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would gather tokens otherwise
]
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Exchange:
    """What handlers see of HTTP."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._query: str = scope.get("query_string", b"").decode("latin-1")
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self._starting = asyncio.Lock()
        self.is_streaming = False
        self.status = 0  # of the answer, once begun
        given_id = self.header("x-request-id")
        self.request_id = given_id if _REQUEST_ID.fullmatch(given_id) else f"req-{secrets.token_hex(12)}"

    def header(self, name: str) -> str:
        """The value of a header, "" when absent."""
        return self._headers.get(name.encode(), b"").decode("latin-1").strip()

    def query(self, name: str) -> str:
        """The value of a parameter in the query string, "" when absent."""
        return parse_qs(self._query).get(name, [""])[0]

    async def read(self, max_bytes: int) -> bytes:
        """The whole body; raises RequestTooLarge as soon as it is certain, RequestCancelled if the client leaves."""
        too_large = RequestTooLarge(f"The body is larger than the {max_bytes} bytes this server accepts.")
        length = self.header("content-length")
        if length.isdecimal() and int(length) > max_bytes:
            raise too_large
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise RequestCancelled("The client left while sending its request.")
            body += message.get("body", b"")
            if len(body) > max_bytes:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)

    async def wait_for_disconnect(self) -> None:
        """Return once the client has left; or, which no caller waits for, once the answer is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def unless_left(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What `work` returns; it is given up when the client leaves meanwhile."""
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._raise_when_left())
                result = await group.create_task(work)
                watcher.cancel()
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        return result

    async def _raise_when_left(self) -> None:
        await self.wait_for_disconnect()
        raise RequestCancelled("The client left before its request was read.")

    async def respond(
        self, body: bytes, status: int = 200, content_type: bytes = _JSON, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send a whole answer."""
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [(b"content-type", content_type), length, *headers])
        await self._send({"type": "http.response.body", "body": body})

    async def respond_json(self, payload: object, status: int = 200) -> None:
        await self.respond(orjson.dumps(payload), status)

    async def write(self, data: bytes) -> None:
        """Send part of a stream of events. The status goes out with the first part, so errors before it keep theirs."""
        if not self.is_streaming:
            await self._start_stream()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_stream(self, data: bytes) -> None:
        """Send the last part."""
        if not self.is_streaming:
            await self._start_stream()
        await self._send({"type": "http.response.body", "body": data})

    async def _start_stream(self) -> None:
        async with self._starting:  # several choices may write at once
            if not self.is_streaming:
                await self._start(200, _EVENTS)
                self.is_streaming = True

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        request_id = (b"x-request-id", self.request_id.encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [request_id, *headers]})
