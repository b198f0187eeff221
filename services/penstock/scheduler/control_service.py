"""The Control service of one router: orders of operators, from the wire to `PoolOrders`."""

from typing import Any

import grpc

from penstock.core.errors import PenstockError
from penstock.core.policies.pool_changes import PoolChange
from penstock.runtime import rpc
from penstock.scheduler.pool_orders import PoolOrders
from penstock.scheduler.role_control import RoleControl
from penstock.wire import control_stubs
from penstock.wire.control_messages import (
    FlipOrderRequest,
    FlipResponse,
    RolloutRequest,
    RolloutResponse,
    ScaleRequest,
    ScaleResponse,
    SteerRequest,
    SteerResponse,
)

ORDERED = "ordered"  # the reason of what an operator asked for

Context = grpc.aio.ServicerContext[Any, Any]


class ControlService:
    """Answers a refusal as an error with its sentence."""

    def __init__(self, group: str, orders: PoolOrders, control: RoleControl) -> None:
        self._group = group
        self._orders = orders
        self._control = control

    def register(self, server: grpc.aio.Server) -> None:
        control_stubs.add_control(server, self.scale, self.flip, self.steer, self.rollout)

    async def scale(self, request: ScaleRequest, context: Context) -> ScaleResponse:
        try:
            return ScaleResponse(
                await self._orders.scale(request.targets, is_dry_run=request.is_dry_run, on_begun=self._note_scaled)
            )
        except PenstockError as error:
            await rpc.abort(context, error)

    async def flip(self, request: FlipOrderRequest, context: Context) -> FlipResponse:
        group = "" if request.group == self._group else request.group  # it is there already
        try:
            answer = await self._orders.flip(
                request.worker_id, request.role, group=group, is_dry_run=request.is_dry_run
            )
        except PenstockError as error:
            await rpc.abort(context, error)
        changes = []
        if answer.previous_role is not request.role:
            changes.append(f"{answer.previous_role.value} to {request.role.value}")
        if group:
            changes.append(f"moving to group {group}")
        if changes and not request.is_dry_run:
            self._control.note(request.worker_id, ", ".join(changes), ORDERED, "done")
        return answer

    async def steer(self, request: SteerRequest, context: Context) -> SteerResponse:
        return SteerResponse(self._control.steer(request.steering))

    async def rollout(self, request: RolloutRequest, context: Context) -> RolloutResponse:
        try:
            return RolloutResponse(self._orders.begin_rollout(request.roles, is_dry_run=request.is_dry_run))
        except PenstockError as error:
            await rpc.abort(context, error)

    def _note_scaled(self, change: PoolChange) -> None:
        said = f"{change.num_before} to {change.num_after} workers"
        self._control.note(change.role.value, said, ORDERED, "done")
