"""The receiving end of links (`peer_link` is the other): a stream from each peer that reserves here and pushes."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

import grpc

from penstock.runtime.outbox import Outbox
from penstock.runtime.sessions import converse, read_hello
from penstock.transfer.policy import Peer
from penstock.wire.messages import LinkCalls, LinkEvents, LinkWelcome


class LinkIntake(Protocol):
    """What is asked for on links, and what becomes of it."""

    def open_link(self, peer: Peer) -> Outbox[LinkEvents]:
        """A stream began; what an older life of the peer left is withdrawn."""
        ...

    def close_link(self, peer: Peer, outbox: Outbox[LinkEvents]) -> None:
        """It ended."""
        ...

    def on_calls(self, peer: Peer, outbox: Outbox[LinkEvents], calls: LinkCalls) -> None:
        """Do what is asked for on the stream that `outbox` answers."""
        ...


class LinkService:
    """Handler of the stream; the work is the intake's."""

    def __init__(self, intake: LinkIntake, incarnation: int) -> None:
        self.welcome: LinkWelcome  # set once the address is bound, before the worker registers
        self._intake = intake
        self._incarnation = incarnation

    async def link(
        self, calls: AsyncIterator[LinkCalls], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[LinkEvents]:
        """Reservations, commits and releases up; promises, starts and revocations down."""
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
