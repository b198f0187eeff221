"""Messages of the Prefill service: our types to protobuf and back."""

from penstock.core.types import SampledToken
from penstock.wire.codec import core_types
from penstock.wire.messages import (
    FirstToken,
    HandedOff,
    PrefillCalls,
    PrefillEnded,
    PrefillEvents,
    PrefillStart,
    WantedImages,
)
from penstock.wire.v1 import prefill_pb2 as pb


def calls_to_wire(calls: PrefillCalls, now_s: float) -> pb.PrefillCalls:
    return pb.PrefillCalls(
        hello=core_types.hello_to_wire(calls.hello),
        starts=[_start_to_wire(start, now_s) for start in calls.starts],
        cancelled_handles=calls.cancelled_handles,
    )


def calls_from_wire(message: pb.PrefillCalls, now_s: float) -> PrefillCalls:
    return PrefillCalls(
        hello=core_types.hello_from_wire(message.hello) if message.HasField("hello") else None,
        starts=tuple(_start_from_wire(start, now_s) for start in message.starts),
        cancelled_handles=tuple(message.cancelled_handles),
    )


def events_to_wire(events: PrefillEvents) -> pb.PrefillEvents:
    return pb.PrefillEvents(
        accepted_handles=events.accepted_handles,
        refused=[_ended_to_wire(ended) for ended in events.refused],
        first_tokens=[_first_token_to_wire(first) for first in events.first_tokens],
        handed_off=[_handed_off_to_wire(handed_off) for handed_off in events.handed_off],
        failed=[_ended_to_wire(ended) for ended in events.failed],
        has_capacity=events.has_capacity,
        wanted_images=[
            pb.WantedImages(handle=wanted.handle, indices=wanted.indices) for wanted in events.wanted_images
        ],
    )


def events_from_wire(message: pb.PrefillEvents) -> PrefillEvents:
    return PrefillEvents(
        accepted_handles=tuple(message.accepted_handles),
        refused=tuple(_ended_from_wire(ended) for ended in message.refused),
        first_tokens=tuple(_first_token_from_wire(first) for first in message.first_tokens),
        handed_off=tuple(_handed_off_from_wire(handed_off) for handed_off in message.handed_off),
        failed=tuple(_ended_from_wire(ended) for ended in message.failed),
        has_capacity=message.has_capacity,
        wanted_images=tuple(WantedImages(wanted.handle, tuple(wanted.indices)) for wanted in message.wanted_images),
    )


def _start_to_wire(start: PrefillStart, now_s: float) -> pb.PrefillStart:
    return pb.PrefillStart(
        request=core_types.request_to_wire(start.request, now_s),
        decode_candidates=[core_types.worker_to_wire(ref) for ref in start.decode_candidates],
    )


def _start_from_wire(message: pb.PrefillStart, now_s: float) -> PrefillStart:
    return PrefillStart(
        request=core_types.request_from_wire(message.request, now_s),
        decode_candidates=tuple(core_types.worker_from_wire(ref) for ref in message.decode_candidates),
    )


def _ended_to_wire(ended: PrefillEnded) -> pb.PrefillEnded:
    return pb.PrefillEnded(handle=ended.handle, failure=core_types.failure_to_wire(ended.error))


def _ended_from_wire(message: pb.PrefillEnded) -> PrefillEnded:
    return PrefillEnded(message.handle, core_types.failure_from_wire(message.failure))


def _first_token_to_wire(first: FirstToken) -> pb.FirstToken:
    logprobs = first.token.logprobs
    return pb.FirstToken(
        handle=first.handle,
        token_id=first.token.token_id,
        logprobs=core_types.logprobs_to_wire(logprobs) if logprobs else None,
        num_cached_tokens=first.num_cached_tokens,
        finish_reason=first.finish_reason or "",
        spans=core_types.spans_to_wire(first.spans),
    )


def _first_token_from_wire(message: pb.FirstToken) -> FirstToken:
    logprobs = core_types.logprobs_from_wire(message.logprobs) if message.HasField("logprobs") else None
    return FirstToken(
        handle=message.handle,
        token=SampledToken(message.token_id, logprobs),
        num_cached_tokens=message.num_cached_tokens,
        finish_reason=core_types.reason_from_wire(message.finish_reason),
        spans=core_types.spans_from_wire(message.spans),
    )


def _handed_off_to_wire(handed_off: HandedOff) -> pb.HandedOff:
    return pb.HandedOff(
        handle=handed_off.handle,
        decode=core_types.worker_to_wire(handed_off.decode),
        spans=core_types.spans_to_wire(handed_off.spans),
    )


def _handed_off_from_wire(message: pb.HandedOff) -> HandedOff:
    return HandedOff(
        message.handle, core_types.worker_from_wire(message.decode), core_types.spans_from_wire(message.spans)
    )
