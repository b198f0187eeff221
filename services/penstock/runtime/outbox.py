"""What a long-lived stream still has to say: items gather while the last message is being written.

This is why a busy stream costs one message per turn of the event loop and not one per item.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Unbounded single-reader queue that is read by the batch. `max_items` marks a reader that stopped reading."""

    def __init__(self, max_items: int = 100_000) -> None:
        self._items: list[Item] = []
        self._max_items = max_items
        self._has_items = asyncio.Event()
        self._is_closed = False

    def put(self, item: Item) -> bool:
        """Queue `item`; False when the outbox is closed or its reader is hopelessly behind (it is then closed)."""
        if self._is_closed:
            return False
        if len(self._items) >= self._max_items:
            self.close()
            return False
        self._items.append(item)
        self._has_items.set()
        return True

    def close(self) -> None:
        """End the reader after it has taken what is queued."""
        self._is_closed = True
        self._has_items.set()

    async def batches(self) -> AsyncIterator[list[Item]]:
        """Yield everything queued since the last yield, until closed."""
        while True:
            await self._has_items.wait()
            self._has_items.clear()
            items, self._items = self._items, []
            if items:
                yield items
            if self._is_closed and not self._items:
                return
