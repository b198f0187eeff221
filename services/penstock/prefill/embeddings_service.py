"""The Embeddings service: links from encoders that bring the embeddings of images."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from penstock.prefill.image_intake import ImageIntake
from penstock.runtime.sessions import converse, read_hello
from penstock.wire.messages import LinkCalls, LinkEvents, LinkWelcome


class EmbeddingsService:
    """Handler of the stream; the work is the ImageIntake's."""

    def __init__(self, intake: ImageIntake, incarnation: int) -> None:
        self.welcome: LinkWelcome  # set once the address is bound, before the worker registers
        self._intake = intake
        self._incarnation = incarnation

    async def link(
        self, calls: AsyncIterator[LinkCalls], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[LinkEvents]:
        """Reservations and releases up; promises, starts and revocations down."""
        hello, first = await read_hello(calls, self._incarnation, context)
        peer = hello.caller_id, hello.caller_incarnation
        outbox = self._intake.open_link(peer)
        outbox.put(LinkEvents(welcome=self.welcome))

        def on_call(call: LinkCalls) -> None:
            self._intake.on_calls(peer, outbox, call)

        try:
            on_call(first)
            async with aclosing(converse(calls, on_call, outbox)) as news:
                async for events in news:
                    yield events
        finally:
            self._intake.close_link(peer, outbox)
