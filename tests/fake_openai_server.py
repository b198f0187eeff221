"""An OpenAI-compatible server that does what it is told: scripted token times, and every way of misbehaving.

Scripts are taken in turn, over and over; times are from the arrival of the request. Cheap enough to drive a client to
its limit from one core:

    python -m tests.fake_openai_server --port 9000 --first-s 0.05 --gap-s 0.01
"""

import argparse
import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import orjson
import uvloop

MODEL = "fake"
TOKENS_PER_WORD = 1.5
NUM_FRAME_TOKENS = 7


@dataclass(frozen=True)
class Script:
    """How one request is answered. `num_tokens` 0: as many as `max_tokens` says."""

    first_s: float = 0.0
    gap_s: float = 0.0
    num_tokens: int = 0
    status: int = 200
    headers: tuple[str, ...] = ()
    cut_after: int = -1  # tokens, then the connection is closed
    ends_silently_after: int = -1  # tokens, then the message ends without [DONE]
    error_after: int = -1  # tokens, then an error event
    has_usage: bool = True
    tokens_per_event: int = 1
    opens_at_once: bool = False  # the event with the role comes long before the first token
    splits_writes: bool = False  # events arrive in pieces that begin and end anywhere
    is_stream: bool = True


@dataclass
class FakeServer:
    """What it was asked, and how it answers."""

    scripts: Sequence[Script] = (Script(),)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    num_connections: int = 0  # ever made
    num_aborted: int = 0  # streams whose client left
    close_after_next_request: bool = False  # without an answer to it
    keeps: bool = True
    port: int = 0
    connections: set[asyncio.Transport] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.scripts)

    def next_script(self) -> Script:
        return next(self._turns)


class _Session(asyncio.Protocol):
    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._body = bytearray()
        self._headers: dict[str, str] = {}
        self._url = b""
        self._parser = httptools.HttpRequestParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self._transport)
        self._server.num_connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
            self._server.num_aborted += 1
        if self._transport:
            self._server.connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body.clear()
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        path = self._url.decode()
        if self._server.close_after_next_request and self._transport:
            self._server.close_after_next_request = False
            self._transport.close()
            return
        if path == "/v1/models":
            self._respond(200, {"data": [{"id": MODEL}]})
            return
        if not path.endswith("/completions"):
            self._respond(404, {"error": {"message": f"no {path}"}})
            return
        body = orjson.loads(bytes(self._body))
        if not body.get("stream"):
            self._respond(200, {"usage": {"prompt_tokens": num_prompt_tokens(body), "completion_tokens": 1}})
            return
        if self._server.keeps:
            self._server.requests.append(body)
            self._server.headers.append(self._headers)
            self._server.paths.append(path)
        self._answer(self._server.next_script(), body)

    def _respond(self, status: int, content: dict[str, Any], headers: Sequence[str] = ()) -> None:
        data = orjson.dumps(content)
        more = "".join(f"{line}\r\n" for line in headers)
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{more}\r\n"
        self._write(head.encode() + data)

    def _answer(self, script: Script, body: dict[str, Any]) -> None:
        if script.status != 200 or not script.is_stream:
            self._respond(script.status, {"error": {"message": "as scripted"}}, script.headers)
            return
        is_chat = "messages" in body
        num_tokens = script.num_tokens or body["max_tokens"]
        answer = _Answer(script, num_tokens, is_chat, num_prompt_tokens(body))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        if script.opens_at_once:
            self._write(head + _chunk(answer.opening))
            head = b""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(loop.time() + script.first_s, self._next, answer, 0, loop.time(), head)

    def _next(self, answer: "_Answer", sent: int, began_s: float, head: bytes) -> None:
        """One event; then the next timer, or the end."""
        self._timer, script = None, answer.script
        if self._transport is None:
            return
        if sent in (script.cut_after, script.ends_silently_after, script.error_after):
            self._misbehave(script, sent, head)
            return
        sent += script.tokens_per_event
        data = answer.event
        if sent >= answer.num_tokens:
            self._write(head + _chunk(data + answer.ending) + b"0\r\n\r\n", script.splits_writes)
            return
        self._write(head + _chunk(data), script.splits_writes)
        loop = asyncio.get_running_loop()
        due_s = began_s + script.first_s + script.gap_s * sent / script.tokens_per_event
        self._timer = loop.call_at(due_s, self._next, answer, sent, began_s, b"")

    def _misbehave(self, script: Script, sent: int, head: bytes) -> None:
        if sent == script.error_after:
            self._write(head + _chunk(b'data: {"error": {"message": "as scripted", "code": 500}}\n\n') + b"0\r\n\r\n")
        elif sent == script.ends_silently_after:
            self._write(head + b"0\r\n\r\n")
        elif self._transport:
            self._transport.write(head)
            self._transport.close()

    def _write(self, data: bytes, splits: bool = False) -> None:
        if self._transport is None:
            return
        if not splits:
            self._transport.write(data)
            return
        middle = len(data) // 2
        self._transport.write(data[:middle])
        asyncio.get_running_loop().call_later(0.002, self._transport.write, data[middle:])


class _Answer:
    """Its events, rendered once."""

    def __init__(self, script: Script, num_tokens: int, is_chat: bool, num_prompt: int) -> None:
        self.script = script
        self.num_tokens = num_tokens

        kind = "chat.completion.chunk" if is_chat else "text_completion"

        def event(content: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish}
            frame = {"id": "cmpl-0123456789abcdef", "object": kind, "created": 1764000000, "model": MODEL}
            return b"data: " + orjson.dumps({**frame, "choices": [choice], "usage": None}) + b"\n\n"

        text = " word" * script.tokens_per_event
        self.opening = event({"delta": {"role": "assistant", "content": ""}} if is_chat else {"text": ""})
        self.event = event({"delta": {"content": text}} if is_chat else {"text": text})
        self.ending = event({"delta": {}} if is_chat else {"text": ""}, "length")
        if script.has_usage:
            usage = {"prompt_tokens": num_prompt, "completion_tokens": num_tokens}
            last = {"id": "cmpl-0123456789abcdef", "object": kind, "choices": [], "usage": usage}
            self.ending += b"data: " + orjson.dumps(last) + b"\n\n"
        self.ending += b"data: [DONE]\n\n"


def num_prompt_tokens(body: dict[str, Any]) -> int:
    """As this server's tokenizer would count: a word and a half each, and what a template adds."""
    if "messages" not in body:
        prompt = body["prompt"]
        return len(prompt) if isinstance(prompt, list) else round(TOKENS_PER_WORD * len(prompt.split()))
    texts = [message["content"] for message in body["messages"] if isinstance(message["content"], str)]
    return round(TOKENS_PER_WORD * sum(len(text.split()) for text in texts)) + NUM_FRAME_TOKENS


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def serving(*scripts: Script, port: int = 0, keeps: bool = True) -> AsyncIterator[FakeServer]:
    """A server on a loopback port, until the block ends."""
    server = FakeServer(scripts or (Script(),), keeps=keeps)
    listener = await asyncio.get_running_loop().create_server(lambda: _Session(server), "127.0.0.1", port)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for connection in list(server.connections):
            connection.abort()
        for _ in range(3):  # the loop closes sockets in its next turns, this side's and the client's
            await asyncio.sleep(0)


async def _serve(port: int, script: Script) -> None:
    async with serving(script, port=port, keeps=False) as server:
        sys.stdout.write(f"serves on {server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--first-s", type=float, default=0.05)
    parser.add_argument("--gap-s", type=float, default=0.01)
    given = parser.parse_args()
    uvloop.run(_serve(given.port, Script(given.first_s, given.gap_s)))


if __name__ == "__main__":
    main()
