"""The Decode service as gateways see it: streams of steps. Links of prefill workers: `transfer.link_service`."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from penstock.decode.intake import Intake
from penstock.decode.loop import Decoder
from penstock.runtime.sessions import converse, read_hello
from penstock.wire.messages import DecodeCalls, StepOutputs


class DecodeService:
    """Handler of the stream; the work is the Decoder's and the Intake's."""

    def __init__(self, decoder: Decoder, intake: Intake, incarnation: int) -> None:
        self._incarnation = incarnation
        self._decoder = decoder
        self._intake = intake

    async def stream(
        self, calls: AsyncIterator[DecodeCalls], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[StepOutputs]:
        """Steps down, cancellations up. The end of the stream cancels all the gateway has here."""
        hello, first = await read_hello(calls, self._incarnation, context)
        outbox = self._decoder.streams.open(hello.caller_id)

        def on_call(call: DecodeCalls) -> None:
            for handle in call.cancelled_handles:
                key = hello.caller_id, handle
                if not self._decoder.cancel(key):
                    self._intake.cancel(key)

        try:
            on_call(first)
            async with aclosing(converse(calls, on_call, outbox)) as steps:
                async for outputs in steps:
                    yield outputs
        finally:
            self._decoder.streams.close(hello.caller_id, outbox)
