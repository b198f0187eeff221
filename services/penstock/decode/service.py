"""The Decode service: streams of steps to gateways, links from prefill workers."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from penstock.decode.intake import Intake
from penstock.decode.loop import Decoder
from penstock.runtime.sessions import converse, read_hello
from penstock.transfer.receiver import KvReceiver
from penstock.wire.messages import DecodeCalls, LinkCalls, LinkEvents, LinkWelcome, StepOutputs


class DecodeService:
    """Handlers of the two streams; the work is the Decoder's and the Intake's."""

    def __init__(self, decoder: Decoder, intake: Intake, receiver: KvReceiver) -> None:
        self.welcome: LinkWelcome  # set once the address is bound, before the worker registers
        self._incarnation = receiver.me[1]
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

    async def link(
        self, calls: AsyncIterator[LinkCalls], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[LinkEvents]:
        """Reservations, commits and releases up; grants, starts and revocations down."""
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
