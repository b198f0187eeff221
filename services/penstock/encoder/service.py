"""The Encoder service: one stream per gateway that has images encoded and hears when they were delivered."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc

from penstock.encoder.loop import Encoder
from penstock.encoder.spans import EncodeSpans
from penstock.runtime.outbox import Outbox
from penstock.runtime.sessions import converse, read_hello
from penstock.runtime.tracing import OFF, Tracer
from penstock.wire.encode_messages import EncodeCalls, EncodeEvents


class EncoderService:
    """Handler of the stream; the work is the Encoder's."""

    def __init__(self, encoder: Encoder, incarnation: int, now_s: Callable[[], float], tracer: Tracer = OFF) -> None:
        self._encoder = encoder
        self._incarnation = incarnation
        self._now_s = now_s
        self._tracer = tracer

    async def serve(
        self, calls: AsyncIterator[EncodeCalls], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[EncodeEvents]:
        """Images and cancellations up; deliveries down. Its end cancels what it started."""
        hello, first = await read_hello(calls, self._incarnation, context)
        outbox: Outbox[EncodeEvents] = Outbox()
        spans = EncodeSpans(self._tracer, self._now_s)

        def on_call(call: EncodeCalls) -> None:
            for start in call.starts:
                spans.begin(start)
                self._encoder.start(hello.caller_id, start, outbox)
            for handle in call.cancelled_handles:
                self._encoder.cancel((hello.caller_id, handle))
                spans.cancel(handle)

        try:
            on_call(first)
            async with aclosing(converse(calls, on_call, outbox)) as news:
                async for events in news:
                    spans.hear(events)
                    yield events
        finally:
            spans.close()
            self._encoder.cancel_gateway(hello.caller_id, outbox)
