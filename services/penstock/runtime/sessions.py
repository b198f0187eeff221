"""The server's side of a long-lived stream: who called, what it says, and what we have to say to it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

import grpc

from penstock.core.errors import IncarnationMismatch, InvalidRequest
from penstock.runtime.outbox import Outbox
from penstock.runtime.rpc import abort
from penstock.wire.merging import Merged, merge
from penstock.wire.messages import Hello


class OpensWithHello(Protocol):
    """A message whose first one on a stream introduces the caller."""

    @property
    def hello(self) -> Hello | None: ...


Calls = TypeVar("Calls", bound=OpensWithHello)


async def read_hello(
    calls: AsyncIterator[Calls], incarnation: int, context: "grpc.aio.ServicerContext[Any, Any]"
) -> tuple[Hello, Calls]:
    """Take the first message; end the stream unless it introduces a caller that means this life of ours."""
    first = await anext(aiter(calls), None)
    if first is None or first.hello is None:
        await abort(context, InvalidRequest("The first message of a stream must carry a Hello."))
    if first.hello.callee_incarnation not in (0, incarnation):
        await abort(context, IncarnationMismatch("This worker was restarted: it is not the one that is meant."))
    return first.hello, first


async def converse(
    calls: AsyncIterator[Calls], on_call: Callable[[Calls], None], outbox: Outbox[Merged]
) -> AsyncGenerator[Merged, None]:
    """Give every message of the caller to `on_call`, and yield what `outbox` gathers, until either side ends."""

    async def listen() -> None:
        try:
            async for call in calls:
                on_call(call)
        finally:
            outbox.close()

    listener = asyncio.create_task(listen())
    try:
        async for messages in outbox.batches():
            yield merge(messages)
        if listener.done():  # otherwise we hung up: whatever the caller still says, nobody listens
            listener.result()
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
