"""One long-lived stream to a peer: what we say is coalesced, what we hear is handed over at once."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

from penstock.core.errors import PenstockError, WorkerLost
from penstock.runtime.outbox import Outbox

Item = TypeVar("Item")
Calls = TypeVar("Calls")
Events = TypeVar("Events")

MAX_ITEMS_PER_MESSAGE = 16  # a burst of prompts of 100,000 tokens, half a megabyte each, must fit a message


class Stream(Generic[Item, Calls, Events]):
    """Says hello, then one message per turn of the loop however much there is to say; ends once."""

    def __init__(
        self,
        open_stream: Callable[[AsyncIterator[Calls]], AsyncGenerator[Events, None]],
        hello: Calls,
        pack: Callable[[list[Item]], Calls],
        max_items: int = MAX_ITEMS_PER_MESSAGE,
    ) -> None:
        self._open_stream = open_stream
        self._hello = hello
        self._pack = pack
        self._max_items = max_items
        self._outbox: Outbox[Item] = Outbox()

    def send(self, item: Item) -> bool:
        """False when the stream is over, or its peer has stopped reading."""
        return self._outbox.put(item)

    async def run(self, on_events: Callable[[Events], None]) -> PenstockError:
        """Talk until the peer is gone; returns why."""
        try:
            async with aclosing(self._open_stream(self._calls())) as stream:
                async for events in stream:
                    on_events(events)
        except PenstockError as error:
            return error
        finally:
            self._outbox.close()
        return WorkerLost("The peer ended its stream.")

    async def _calls(self) -> AsyncIterator[Calls]:
        yield self._hello
        async for items in self._outbox.batches():
            for first in range(0, len(items), self._max_items):
                yield self._pack(items[first : first + self._max_items])
