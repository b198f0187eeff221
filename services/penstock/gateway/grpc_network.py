"""The dispatcher's network over gRPC: peers by address, failures as errors of our own tree."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

import grpc

from penstock.core.errors import WorkerLost
from penstock.runtime import clock, rpc
from penstock.runtime.channel import Channels
from penstock.wire import control_stubs, stubs
from penstock.wire.control_messages import HoldingsRequest
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

Calls = TypeVar("Calls")
Events = TypeVar("Events")


class GrpcNetwork:
    """The real one. Channels are shared with nobody else, so closing them ends every call made here."""

    def __init__(self, scheduler_address: str, channels: Channels) -> None:
        self._scheduler_address = scheduler_address
        self._channels = channels

    async def join(self, request: JoinRequest, timeout_s: float) -> JoinResponse:
        method = stubs.membership_join(self._channels.get(self._scheduler_address))
        return await rpc.call(method, request, timeout_s=timeout_s)

    def route(self, address: str, calls: AsyncIterator[RouteCalls]) -> AsyncGenerator[RouteEvents, None]:
        return _translated(stubs.router_route(self._channels.get(address), clock.now_s), calls)

    def prefill(self, address: str, calls: AsyncIterator[PrefillCalls]) -> AsyncGenerator[PrefillEvents, None]:
        return _translated(stubs.prefill_serve(self._channels.get(address), clock.now_s), calls)

    def encode(self, address: str, calls: AsyncIterator[EncodeCalls]) -> AsyncGenerator[EncodeEvents, None]:
        return _translated(stubs.encoder_serve(self._channels.get(address), clock.now_s), calls)

    def decode(self, address: str, calls: AsyncIterator[DecodeCalls]) -> AsyncGenerator[StepOutputs, None]:
        return _translated(stubs.decode_stream(self._channels.get(address)), calls)

    async def probe(self, address: str, timeout_s: float) -> None:
        """Holdings is served by every worker and costs it nothing."""
        method = control_stubs.WORKER_HOLDINGS.unary(self._channels.get(address))
        await rpc.call(method, HoldingsRequest(), timeout_s=timeout_s)


async def _translated(
    method: "grpc.aio.StreamStreamMultiCallable[Calls, Events]", calls: AsyncIterator[Calls]
) -> AsyncGenerator[Events, None]:
    call = method(calls)
    try:
        async for events in call:
            yield events
    except grpc.aio.AioRpcError as error:
        raise rpc.to_error(error) from error
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # always inside a task
            raise
        raise WorkerLost("The channel was closed.") from None  # gRPC cancels a closed channel's calls by itself
    finally:
        call.cancel()
