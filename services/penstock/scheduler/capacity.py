"""Everything about a group's capacity, in its router's process: orders, role control, and their service."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from penstock.core.errors import ChangeRefused
from penstock.core.pool_scaler import ScaleRules
from penstock.core.pools import RoleChange, RolesView, Steering
from penstock.core.role_controller import RoleRules
from penstock.core.timeline import Slo
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.runtime.settings import SchedulerSettings
from penstock.runtime.tls import load_tls
from penstock.scheduler.control_service import ORDERED, ControlService
from penstock.scheduler.kubernetes import pool_names
from penstock.scheduler.kubernetes.api import KubernetesApi, connect
from penstock.scheduler.kubernetes.cluster import KubernetesCluster
from penstock.scheduler.kubernetes.pod_watch import PodWatch
from penstock.scheduler.pool_control import PoolControl
from penstock.scheduler.pool_orders import PoolOrders
from penstock.scheduler.role_control import RoleControl
from penstock.scheduler.router import Router
from penstock.scheduler.scaler import NoScaler, RpcScaler, Scaler
from penstock.wire import control_stubs
from penstock.wire.control_messages import DrainRequest

KUBERNETES = "kubernetes"

_DRAIN_TIMEOUT_S = 60.0  # of a worker that is scaled away or replaced
_CALL_TIMEOUT_S = 5.0


class Capacity:
    """One group's. `changed` is to be called whenever its membership has changed."""

    def __init__(self, router: Router, settings: SchedulerSettings, now_s: Callable[[], float]) -> None:
        self.on_role_change: Callable[[RoleChange], None] = lambda change: None
        self._router = router
        self._channels = Channels(load_tls(settings.tls_folder))
        self._cluster = self._join_cluster(settings) if settings.scaler == KUBERNETES else None
        rules = RoleRules(settings.role_policy, slo=Slo(settings.ttft_slo_s, settings.tpot_slo_s))
        self._control = RoleControl(router, rules, Steering(settings.steering), now_s)
        self._control.on_change = self._tell
        scaler = self._cluster.scaler if self._cluster else _scaler(settings.scaler, router.group, self._channels)
        self._orders = PoolOrders(lambda: router.workers, scaler, self._channels, self._on_order)
        scale_rules = ScaleRules(settings.max_workers, slo=rules.slo)
        self._pools = PoolControl(router, self._control, scale_rules, now_s)
        self._service = ControlService(router.group, self._orders, self._control)

    def register(self, server: grpc.aio.Server) -> None:
        self._service.register(server)

    @property
    def view(self) -> RolesView:
        return self._control.view

    def changed(self) -> None:
        self._orders.changed.set()

    async def run(self) -> None:
        """Let role control look, and hear of pods where there are any, for ever."""
        async with asyncio.TaskGroup() as tasks:
            if self._cluster is not None:
                tasks.create_task(self._cluster.run())
            tasks.create_task(_every(self._control.rules.interval_s, lambda: self._control.tick(self._orders.flip)))
            tasks.create_task(_every(self._pools.rules.interval_s, lambda: self._pools.tick(self._orders.scale)))

    async def close(self) -> None:
        await self._orders.close()
        await self._channels.close()
        if self._cluster is not None:
            await self._cluster.close()

    def _on_order(self, subject: str, change: str, outcome: str) -> None:
        self._control.note(subject, change, ORDERED, outcome)

    def _tell(self, change: RoleChange) -> None:
        self.on_role_change(change)
        is_worker = any(worker.ref.worker_id == change.subject for worker in self._router.workers)
        if self._cluster is not None and is_worker:
            self._cluster.tell(change.subject, f"{change.change} ({change.reason}): {change.outcome}")

    def _join_cluster(self, settings: SchedulerSettings) -> KubernetesCluster:
        pools = pool_names.parse(settings.kubernetes_pools, self._router.group)
        client = connect()
        pods = PodWatch(client, self._router.group, self._router.gone)
        return KubernetesCluster(KubernetesApi(client), pods, pools, self._drain)

    async def _drain(self, worker_id: str) -> None:
        worker = next((member for member in self._router.workers if member.ref.worker_id == worker_id), None)
        if worker is None:
            raise ChangeRefused(f"There is no worker '{worker_id}' any more.")
        method = control_stubs.WORKER_DRAIN.unary(self._channels.get(worker.ref.address))
        await rpc.call(method, DrainRequest(_DRAIN_TIMEOUT_S), timeout_s=_CALL_TIMEOUT_S)


async def _every(interval_s: float, look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await look()


def _scaler(name: str, group: str, channels: Channels) -> Scaler:
    return NoScaler() if name == "none" else RpcScaler(group, name, channels)
