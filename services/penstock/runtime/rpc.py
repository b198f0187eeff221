"""Calling another process: every call has a deadline, and failures come back as errors of our own tree."""

from typing import NoReturn, TypeVar, cast

import grpc

from penstock.core.errors import WIRE_ERRORS, InternalError, PenstockError, RequestCancelled, WorkerLost
from penstock.runtime import clock

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_CODE_KEY = "penstock-code"
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def call(
    method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",
    request: RequestT,
    *,
    timeout_s: float,
    retries: int = 0,
) -> ResponseT:
    """Call once and at most `retries` times more while the peer is unreachable, all within `timeout_s`.

    Only for methods that may be repeated. A retry waits for the channel to reconnect, so it needs no pause of its own.
    """
    deadline_s = clock.now_s() + timeout_s
    for attempt in range(retries + 1):
        try:
            return await method(request, timeout=deadline_s - clock.now_s(), wait_for_ready=attempt > 0)
        except grpc.aio.AioRpcError as error:
            can_retry = error.code() is grpc.StatusCode.UNAVAILABLE and attempt < retries
            if not can_retry or clock.now_s() >= deadline_s:
                raise to_error(error) from error
    raise AssertionError("unreachable")


def to_error(error: grpc.aio.AioRpcError) -> PenstockError:
    """The error a peer answered with, or `WorkerLost` when there was no answer."""
    sentence = error.details() or error.code().name
    metadata = cast("grpc.aio.Metadata | None", error.trailing_metadata())  # the stubs know only the blocking API
    if metadata and (code := metadata.get(_CODE_KEY)) in WIRE_ERRORS:
        return WIRE_ERRORS[code](sentence)
    if error.code() in _LOST:
        return WorkerLost(f"The peer did not answer: {sentence}")
    if error.code() is grpc.StatusCode.CANCELLED:
        return RequestCancelled(sentence)
    return InternalError(f"The peer failed: {error.code().name}: {sentence}")


async def abort(context: "grpc.aio.ServicerContext[RequestT, ResponseT]", error: PenstockError) -> NoReturn:
    """End the call being served with `error`; the caller's `to_error` makes the same one of it."""
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, error.message, ((_CODE_KEY, error.code),))
