"""Waiting for an engine to have nothing left: the last thing a draining worker does."""

import asyncio

from penstock.core.sequences import SequenceBook


async def wait_until_empty(book: SequenceBook) -> None:
    """Return when no sequence has an owner any more."""
    while book.owners:
        left = asyncio.Event()
        book.when_there_is_room(left, left.set)
        await left.wait()
