"""Messages of the Decode service between prefill and decode workers: our types to protobuf and back."""

from penstock.wire.codec import core_types
from penstock.wire.messages import Commit, LinkCalls, LinkEvents, LinkWelcome, ReservationEnded, Reserve, Reserved
from penstock.wire.v1 import decode_pb2 as pb


def calls_to_wire(calls: LinkCalls, now_s: float) -> pb.LinkCalls:
    return pb.LinkCalls(
        hello=core_types.hello_to_wire(calls.hello),
        reserves=[_reserve_to_wire(reserve) for reserve in calls.reserves],
        commits=[
            pb.Commit(reservation_id=commit.reservation_id, request=core_types.request_to_wire(commit.request, now_s))
            for commit in calls.commits
        ],
        released=calls.released,
        renewed=calls.renewed,
    )


def calls_from_wire(message: pb.LinkCalls, now_s: float) -> LinkCalls:
    return LinkCalls(
        hello=core_types.hello_from_wire(message.hello) if message.HasField("hello") else None,
        reserves=tuple(_reserve_from_wire(reserve) for reserve in message.reserves),
        commits=tuple(
            Commit(commit.reservation_id, core_types.request_from_wire(commit.request, now_s))
            for commit in message.commits
        ),
        released=tuple(message.released),
        renewed=tuple(message.renewed),
    )


def events_to_wire(events: LinkEvents) -> pb.LinkEvents:
    return pb.LinkEvents(
        welcome=_welcome_to_wire(events.welcome) if events.welcome else None,
        reserved=[_reserved_to_wire(reserved) for reserved in events.reserved],
        refused=[
            pb.ReservationEnded(reservation_id=ended.reservation_id, failure=core_types.failure_to_wire(ended.error))
            for ended in events.refused
        ],
        started=events.started,
        revoked=events.revoked,
        has_capacity=events.has_capacity,
    )


def events_from_wire(message: pb.LinkEvents) -> LinkEvents:
    return LinkEvents(
        welcome=_welcome_from_wire(message.welcome) if message.HasField("welcome") else None,
        reserved=tuple(_reserved_from_wire(reserved) for reserved in message.reserved),
        refused=tuple(
            ReservationEnded(ended.reservation_id, core_types.failure_from_wire(ended.failure))
            for ended in message.refused
        ),
        started=tuple(message.started),
        revoked=tuple(message.revoked),
        has_capacity=message.has_capacity,
    )


def _reserve_to_wire(reserve: Reserve) -> pb.Reserve:
    return pb.Reserve(
        reservation_id=reserve.reservation_id,
        request_id=reserve.request_id,
        attempt=reserve.attempt,
        gateway_id=reserve.gateway_id,
        handle=reserve.handle,
        num_tokens=reserve.num_tokens,
        max_new_tokens=reserve.max_new_tokens,
        block_hashes=core_types.hashes_to_wire(reserve.block_hashes),
        image_index=reserve.image_index,
    )


def _reserve_from_wire(message: pb.Reserve) -> Reserve:
    return Reserve(
        reservation_id=message.reservation_id,
        request_id=message.request_id,
        attempt=message.attempt,
        gateway_id=message.gateway_id,
        handle=message.handle,
        num_tokens=message.num_tokens,
        max_new_tokens=message.max_new_tokens,
        block_hashes=core_types.hashes_from_wire(message.block_hashes),
        image_index=message.image_index,
    )


def _reserved_to_wire(reserved: Reserved) -> pb.Reserved:
    return pb.Reserved(
        reservation_id=reserved.reservation_id,
        block_ids=reserved.block_ids,
        num_cached_tokens=reserved.num_cached_tokens,
        lease_s=reserved.lease_s,
    )


def _reserved_from_wire(message: pb.Reserved) -> Reserved:
    return Reserved(message.reservation_id, tuple(message.block_ids), message.num_cached_tokens, message.lease_s)


def _welcome_to_wire(welcome: LinkWelcome) -> pb.LinkWelcome:
    return pb.LinkWelcome(
        worker=core_types.worker_to_wire(welcome.worker),
        layouts=[core_types.layout_to_wire(layout) for layout in welcome.layouts],
        endpoints=[core_types.endpoint_to_wire(endpoint) for endpoint in welcome.endpoints],
        revision=welcome.revision,
    )


def _welcome_from_wire(message: pb.LinkWelcome) -> LinkWelcome:
    return LinkWelcome(
        worker=core_types.worker_from_wire(message.worker),
        layouts=tuple(core_types.layout_from_wire(layout) for layout in message.layouts),
        endpoints=tuple(core_types.endpoint_from_wire(endpoint) for endpoint in message.endpoints),
        revision=message.revision,
    )
