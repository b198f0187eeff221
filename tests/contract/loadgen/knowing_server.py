"""An OpenAI-compatible server that knows the held-out answers, and gets wrong or refuses what it is told to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from penstock_loadgen.questions.asking import request_body
from penstock_loadgen.questions.tasks import held_out

MODEL = "knowing"


@dataclass
class KnowingServer:
    """`answers` by the messages of the question."""

    answers: dict[bytes, str] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    port: int = 0
    num_at_once: int = 0
    max_at_once: int = 0

    def learn(self, tasks: Sequence[str], num_questions: int) -> None:
        """The right answer to so many questions of each."""
        for task in tasks:
            for index in range(num_questions):
                self.answers[key_of(task, index)] = held_out(task, index).last.answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                status, content = await self._answer(head, await reader.readexactly(length))
                data = orjson.dumps(content)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        except asyncio.IncompleteReadError:
            writer.close()

    async def _answer(self, head: bytes, body: bytes) -> tuple[int, dict[str, Any]]:
        if head.startswith(b"GET"):
            return 200, {"data": [{"id": MODEL}]}
        self.num_at_once += 1
        self.max_at_once = max(self.max_at_once, self.num_at_once)
        await asyncio.sleep(0.002)
        self.num_at_once -= 1
        asked = orjson.loads(body)
        assert (asked["model"], asked["temperature"]) == (MODEL, 0)
        key = orjson.dumps(asked["messages"])
        if key in self.refused:
            return 500, {"error": {"message": "as told"}}
        return 200, {"choices": [{"message": {"role": "assistant", "content": self.answers.get(key, "no idea")}}]}


def key_of(task: str, index: int) -> bytes:
    """What tells a question from others."""
    return orjson.dumps(request_body(held_out(task, index), MODEL)["messages"])


@asynccontextmanager
async def knowing() -> AsyncIterator[KnowingServer]:
    """On a loopback port, until the block ends."""
    server = KnowingServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 22) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server
