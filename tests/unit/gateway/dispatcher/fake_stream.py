"""The server's end of one stream, played by a test."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Generic, TypeVar

from penstock.core.errors import PenstockError

Calls = TypeVar("Calls")
Events = TypeVar("Events")


class FakeStream(Generic[Calls, Events]):
    """The server's end of one stream."""

    def __init__(self) -> None:
        self.calls: list[Calls] = []
        self.is_open = True
        self._events: asyncio.Queue[Events | PenstockError] = asyncio.Queue()

    def send(self, events: Events | PenstockError) -> None:
        self._events.put_nowait(events)

    async def serve(
        self, calls: AsyncIterator[Calls], on_call: Callable[[Calls], None], on_close: Callable[[], None]
    ) -> AsyncGenerator[Events, None]:
        async def listen() -> None:
            async for call in calls:
                self.calls.append(call)
                on_call(call)

        listener = asyncio.create_task(listen())
        try:
            while True:
                events = await self._events.get()
                if isinstance(events, PenstockError):
                    raise events
                yield events
        finally:
            self.is_open = False
            on_close()
            listener.cancel()
            await asyncio.wait([listener])
