"""Messages of the Encoder service: our types to protobuf and back."""

from penstock.wire.codec import core_types
from penstock.wire.encode_messages import EncodeCalls, EncodeEnded, EncodeEvents, EncodeStart, ImageDelivered
from penstock.wire.v1 import encoder_pb2 as pb


def calls_to_wire(calls: EncodeCalls, now_s: float) -> pb.EncodeCalls:
    return pb.EncodeCalls(
        hello=core_types.hello_to_wire(calls.hello),
        starts=[_start_to_wire(start, now_s) for start in calls.starts],
        cancelled_handles=calls.cancelled_handles,
    )


def calls_from_wire(message: pb.EncodeCalls, now_s: float) -> EncodeCalls:
    return EncodeCalls(
        hello=core_types.hello_from_wire(message.hello) if message.HasField("hello") else None,
        starts=tuple(_start_from_wire(start, now_s) for start in message.starts),
        cancelled_handles=tuple(message.cancelled_handles),
    )


def events_to_wire(events: EncodeEvents) -> pb.EncodeEvents:
    return pb.EncodeEvents(
        delivered=[
            pb.ImageDelivered(
                handle=delivered.handle,
                index=delivered.index,
                was_cached=delivered.was_cached,
                spans=core_types.spans_to_wire(delivered.spans),
            )
            for delivered in events.delivered
        ],
        failed=[
            pb.EncodeEnded(handle=ended.handle, index=ended.index, failure=core_types.failure_to_wire(ended.error))
            for ended in events.failed
        ],
    )


def events_from_wire(message: pb.EncodeEvents) -> EncodeEvents:
    return EncodeEvents(
        delivered=tuple(
            ImageDelivered(
                delivered.handle, delivered.index, delivered.was_cached, core_types.spans_from_wire(delivered.spans)
            )
            for delivered in message.delivered
        ),
        failed=tuple(
            EncodeEnded(ended.handle, ended.index, core_types.failure_from_wire(ended.failure))
            for ended in message.failed
        ),
    )


def _start_to_wire(start: EncodeStart, now_s: float) -> pb.EncodeStart:
    has_deadline = start.first_token_deadline_s != float("inf")
    return pb.EncodeStart(
        request_id=start.request_id,
        handle=start.handle,
        index=start.index,
        image=core_types.image_to_wire(start.image),
        file=start.file,
        destination=core_types.worker_to_wire(start.destination),
        first_token_in_s=start.first_token_deadline_s - now_s if has_deadline else None,
        traceparent=start.traceparent,
    )


def _start_from_wire(message: pb.EncodeStart, now_s: float) -> EncodeStart:
    has_deadline = message.HasField("first_token_in_s")
    return EncodeStart(
        request_id=message.request_id,
        handle=message.handle,
        index=message.index,
        image=core_types.image_from_wire(message.image),
        file=message.file,
        destination=core_types.worker_from_wire(message.destination),
        first_token_deadline_s=now_s + message.first_token_in_s if has_deadline else float("inf"),
        traceparent=message.traceparent,
    )
