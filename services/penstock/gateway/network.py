"""Whom the dispatcher talks to, as it sees them: gRPC in production (`grpc_network`), a fake cluster in tests."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from penstock.wire.encode_messages import EncodeCalls, EncodeEvents
from penstock.wire.messages import (
    DecodeCalls,
    JoinRequest,
    JoinResponse,
    PrefillCalls,
    PrefillEvents,
    RouteCalls,
    RouteEvents,
    StepOutputs,
)


class Network(Protocol):
    """Streams end by returning, or by raising a PenstockError; closing the generator ends the call."""

    async def join(self, request: JoinRequest, timeout_s: float) -> JoinResponse:
        """Ask the scheduler for the groups' routers."""

    def route(self, address: str, calls: AsyncIterator[RouteCalls]) -> AsyncGenerator[RouteEvents, None]:
        """Open a stream to a router."""

    def prefill(self, address: str, calls: AsyncIterator[PrefillCalls]) -> AsyncGenerator[PrefillEvents, None]:
        """Open a stream to a worker that prefills."""

    def encode(self, address: str, calls: AsyncIterator[EncodeCalls]) -> AsyncGenerator[EncodeEvents, None]:
        """Open a stream to a worker that encodes images."""

    def decode(self, address: str, calls: AsyncIterator[DecodeCalls]) -> AsyncGenerator[StepOutputs, None]:
        """Open a stream to a worker that decodes."""

    async def probe(self, address: str, timeout_s: float) -> None:
        """Return if the worker's process answers at all; raise a PenstockError if it does not."""
