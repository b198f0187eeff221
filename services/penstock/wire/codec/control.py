"""Messages of the Control and Pools services: our types to protobuf and back."""

from penstock.core.policies.pool_changes import PoolChange
from penstock.core.pools import Steering
from penstock.core.types import Role
from penstock.wire.control_messages import (
    FlipOrderRequest,
    FlipResponse,
    GrowRequest,
    GrowResponse,
    RestartRequest,
    RestartResponse,
    RolloutRequest,
    RolloutResponse,
    ScaleRequest,
    ScaleResponse,
    ShrinkRequest,
    ShrinkResponse,
    SteerRequest,
    SteerResponse,
)
from penstock.wire.v1 import control_pb2 as pb


def scale_to_wire(request: ScaleRequest) -> pb.ScaleRequest:
    targets = [pb.RoleCount(role=role, num_workers=num_workers) for role, num_workers in request.targets]
    return pb.ScaleRequest(targets=targets, is_dry_run=request.is_dry_run)


def scale_from_wire(message: pb.ScaleRequest) -> ScaleRequest:
    targets = tuple((Role(target.role), target.num_workers) for target in message.targets)
    return ScaleRequest(targets, message.is_dry_run)


def scaled_to_wire(response: ScaleResponse) -> pb.ScaleResponse:
    return pb.ScaleResponse(
        changes=[
            pb.ScaleChange(
                role=change.role,
                num_before=change.num_before,
                num_after=change.num_after,
                ending_worker_ids=change.ending,
            )
            for change in response.changes
        ]
    )


def scaled_from_wire(message: pb.ScaleResponse) -> ScaleResponse:
    return ScaleResponse(
        tuple(
            PoolChange(Role(change.role), change.num_before, change.num_after, tuple(change.ending_worker_ids))
            for change in message.changes
        )
    )


def flip_to_wire(request: FlipOrderRequest) -> pb.FlipOrderRequest:
    return pb.FlipOrderRequest(
        worker_id=request.worker_id, role=request.role, is_dry_run=request.is_dry_run, group=request.group
    )


def flip_from_wire(message: pb.FlipOrderRequest) -> FlipOrderRequest:
    return FlipOrderRequest(message.worker_id, Role(message.role), message.is_dry_run, message.group)


def flipped_to_wire(response: FlipResponse) -> pb.FlipOrderResponse:
    return pb.FlipOrderResponse(previous_role=response.previous_role, num_sequences=response.num_sequences)


def flipped_from_wire(message: pb.FlipOrderResponse) -> FlipResponse:
    return FlipResponse(Role(message.previous_role), message.num_sequences)


def steer_to_wire(request: SteerRequest) -> pb.SteerRequest:
    return pb.SteerRequest(steering=request.steering)


def steer_from_wire(message: pb.SteerRequest) -> SteerRequest:
    return SteerRequest(Steering(message.steering))


def steered_to_wire(response: SteerResponse) -> pb.SteerResponse:
    return pb.SteerResponse(previous=response.previous)


def steered_from_wire(message: pb.SteerResponse) -> SteerResponse:
    return SteerResponse(Steering(message.previous))


def rollout_to_wire(request: RolloutRequest) -> pb.RolloutRequest:
    return pb.RolloutRequest(roles=list(request.roles), is_dry_run=request.is_dry_run)


def rollout_from_wire(message: pb.RolloutRequest) -> RolloutRequest:
    return RolloutRequest(tuple(map(Role, message.roles)), message.is_dry_run)


def rolled_to_wire(response: RolloutResponse) -> pb.RolloutResponse:
    return pb.RolloutResponse(worker_ids=response.worker_ids)


def rolled_from_wire(message: pb.RolloutResponse) -> RolloutResponse:
    return RolloutResponse(tuple(message.worker_ids))


def grow_to_wire(request: GrowRequest) -> pb.GrowRequest:
    return pb.GrowRequest(group=request.group, role=request.role, num_workers=request.num_workers)


def grow_from_wire(message: pb.GrowRequest) -> GrowRequest:
    return GrowRequest(message.group, Role(message.role), message.num_workers)


def grown_to_wire(response: GrowResponse) -> pb.GrowResponse:
    return pb.GrowResponse(worker_ids=response.worker_ids)


def grown_from_wire(message: pb.GrowResponse) -> GrowResponse:
    return GrowResponse(tuple(message.worker_ids))


def shrink_to_wire(request: ShrinkRequest) -> pb.ShrinkRequest:
    return pb.ShrinkRequest(worker_ids=request.worker_ids)


def shrink_from_wire(message: pb.ShrinkRequest) -> ShrinkRequest:
    return ShrinkRequest(tuple(message.worker_ids))


def shrunk_to_wire(_response: ShrinkResponse) -> pb.ShrinkResponse:
    return pb.ShrinkResponse()


def shrunk_from_wire(_message: pb.ShrinkResponse) -> ShrinkResponse:
    return ShrinkResponse()


def restart_to_wire(request: RestartRequest) -> pb.RestartRequest:
    return pb.RestartRequest(worker_id=request.worker_id)


def restart_from_wire(message: pb.RestartRequest) -> RestartRequest:
    return RestartRequest(message.worker_id)


def restarted_to_wire(_response: RestartResponse) -> pb.RestartResponse:
    return pb.RestartResponse()


def restarted_from_wire(_message: pb.RestartResponse) -> RestartResponse:
    return RestartResponse()
