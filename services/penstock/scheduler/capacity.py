"""Everything about a group's capacity, in its router's process: orders, role control, and their service."""

from collections.abc import Callable

import grpc

from penstock.core.pools import RolesView, Steering
from penstock.runtime.channel import Channels
from penstock.runtime.settings import SchedulerSettings
from penstock.runtime.tls import load_tls
from penstock.scheduler.control_service import ControlService
from penstock.scheduler.pool_orders import PoolOrders
from penstock.scheduler.role_control import RoleControl
from penstock.scheduler.router import Router
from penstock.scheduler.scaler import NoScaler, RpcScaler, Scaler

ORDERED = "ordered"  # the reason of what an operator asked for


class Capacity:
    """One group's. `changed` is to be called whenever its membership has changed."""

    def __init__(self, router: Router, settings: SchedulerSettings, now_s: Callable[[], float]) -> None:
        self._channels = Channels(load_tls(settings.tls_folder))
        self._control = RoleControl(Steering(settings.steering), now_s)
        scaler = _scaler(settings.scaler, router.group, self._channels)
        self._orders = PoolOrders(lambda: router.workers, scaler, self._channels, self._on_order)
        self._service = ControlService(self._orders, self._control)

    def register(self, server: grpc.aio.Server) -> None:
        self._service.register(server)

    @property
    def view(self) -> RolesView:
        return self._control.view

    def changed(self) -> None:
        self._orders.changed.set()

    async def close(self) -> None:
        await self._orders.close()
        await self._channels.close()

    def _on_order(self, subject: str, change: str, outcome: str) -> None:
        self._control.note(subject, change, ORDERED, outcome)


def _scaler(name: str, group: str, channels: Channels) -> Scaler:
    return NoScaler() if name == "none" else RpcScaler(group, name, channels)
