"""Messages of the Worker service: our types to protobuf and back."""

from penstock.core.types import Role
from penstock.wire.control_messages import (
    DrainRequest,
    DrainResponse,
    FlipRequest,
    FlipResponse,
    Holdings,
    HoldingsRequest,
)
from penstock.wire.v1 import worker_pb2 as pb


def drain_to_wire(request: DrainRequest) -> pb.DrainRequest:
    return pb.DrainRequest(timeout_s=request.timeout_s)


def drain_from_wire(message: pb.DrainRequest) -> DrainRequest:
    return DrainRequest(message.timeout_s)


def drained_to_wire(response: DrainResponse) -> pb.DrainResponse:
    return pb.DrainResponse(num_sequences=response.num_sequences)


def drained_from_wire(message: pb.DrainResponse) -> DrainResponse:
    return DrainResponse(message.num_sequences)


def flip_to_wire(request: FlipRequest) -> pb.FlipRequest:
    return pb.FlipRequest(role=request.role, incarnation=request.incarnation, group=request.group)


def flip_from_wire(message: pb.FlipRequest) -> FlipRequest:
    return FlipRequest(Role(message.role), message.incarnation, message.group)


def flipped_to_wire(response: FlipResponse) -> pb.FlipResponse:
    return pb.FlipResponse(previous_role=response.previous_role, num_sequences=response.num_sequences)


def flipped_from_wire(message: pb.FlipResponse) -> FlipResponse:
    return FlipResponse(Role(message.previous_role), message.num_sequences)


def ask_holdings_to_wire(_request: HoldingsRequest) -> pb.HoldingsRequest:
    return pb.HoldingsRequest()


def ask_holdings_from_wire(_message: pb.HoldingsRequest) -> HoldingsRequest:
    return HoldingsRequest()


def holdings_to_wire(holdings: Holdings) -> pb.HoldingsResponse:
    return pb.HoldingsResponse(
        num_sequences=holdings.num_sequences,
        num_referenced_blocks=holdings.num_referenced_blocks,
        num_reservations=holdings.num_reservations,
        num_request_tasks=holdings.num_request_tasks,
        num_open_files=holdings.num_open_files,
        num_quarantined_blocks=holdings.num_quarantined_blocks,
        num_embedding_pages=holdings.num_embedding_pages,
        num_images=holdings.num_images,
    )


def holdings_from_wire(message: pb.HoldingsResponse) -> Holdings:
    return Holdings(
        num_sequences=message.num_sequences,
        num_referenced_blocks=message.num_referenced_blocks,
        num_reservations=message.num_reservations,
        num_request_tasks=message.num_request_tasks,
        num_open_files=message.num_open_files,
        num_quarantined_blocks=message.num_quarantined_blocks,
        num_embedding_pages=message.num_embedding_pages,
        num_images=message.num_images,
    )
