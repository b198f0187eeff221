"""The two kinds of Ray actor: one GlobalScheduler, one GroupRouter per group. Ray restarts both, for ever.

Each serves gRPC from inside its own process on an address it keeps over restarts; no request passes through Ray.
A restarted router is empty: it answers heartbeats with "unknown", and workers register again. A restarted global
scheduler finds the routers by their names. The actors are detached, so that routers do not die with it.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Awaitable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from prometheus_client import CollectorRegistry
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from penstock.core.errors import WorkerLost
from penstock.core.policies.routing import RoutingPolicy
from penstock.core.route_book import RouteRules
from penstock.core.routing_orders import OrderPolicies
from penstock.core.timeline import Slo
from penstock.core.types import WorkerState
from penstock.runtime import clock, lifecycle
from penstock.runtime.metrics import process_registry
from penstock.runtime.otlp import tracing
from penstock.runtime.server import RpcServer
from penstock.runtime.settings import SchedulerSettings
from penstock.runtime.status_server import serve_status
from penstock.runtime.telemetry import configure_logging
from penstock.runtime.tls import load_tls
from penstock.scheduler.capacity import Capacity
from penstock.scheduler.directory import Directory, GroupSummary
from penstock.scheduler.metrics import DirectoryMetrics, RouterMetrics
from penstock.scheduler.ports import nth_address, port_of, settle
from penstock.scheduler.ray_session import NAMESPACE
from penstock.scheduler.router import Router
from penstock.scheduler.router_service import RouterService

log = logging.getLogger(__name__)

GLOBAL_SCHEDULER = "penstock-global-scheduler"
ROUTER_PREFIX = "penstock-router-"

_CALL_TIMEOUT_S = 5.0  # of an actor call; covers a restart of the actor
_STOP_GRACE_S = 0.5
_SUPERVISION_INTERVAL_S = 1.0
_MISSED_HEARTBEATS = 3  # after which a worker is routed to only if there is no other

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where an actor listens, for all its lives."""

    rpc: str
    metrics: str


class GroupRouter:
    """Actor: the router of one group."""

    def __init__(self, group: str, addresses: Addresses, settings: SchedulerSettings) -> None:
        _begin_process(f"router-{group}", settings)
        self._router = Router(group, _rules(settings))
        registry = process_registry()
        self._until_stop = ExitStack()
        tracer = self._until_stop.enter_context(tracing("router", group, registry))
        metrics = RouterMetrics(registry, group)
        self._service = RouterService(self._router, metrics, tracer=tracer)
        self._capacity = Capacity(self._router, settings, clock.now_s)
        self._capacity.on_role_change = metrics.role_changed
        self._service.roles = lambda: self._capacity.view
        self._service.on_change = self._capacity.changed
        self._addresses = addresses
        self._server = RpcServer(load_tls(settings.tls_folder))
        self._server.add(self._service.register)
        self._server.add(self._capacity.register)
        self._started = asyncio.create_task(self._start(registry))
        self._timekeepers = [asyncio.create_task(work()) for work in (self._service.keep_time, self._capacity.run)]

    async def ready(self) -> Addresses:
        """Where others reach it."""
        await self._started
        return Addresses(_reachable(self._addresses.rpc), _reachable(self._addresses.metrics))

    async def admit(self, state: WorkerState) -> None:
        await self._started
        self._service.admit(state)

    async def summary(self) -> GroupSummary:
        await self._started
        for timekeeper in self._timekeepers:
            if timekeeper.done():  # leases would never end, or capacity would stay as it is
                timekeeper.result()
        workers = self._router.workers
        return GroupSummary(
            group=self._router.group,
            address=_reachable(self._addresses.rpc),
            metrics_address=_reachable(self._addresses.metrics),
            num_workers=dict(Counter(worker.role.value for worker in workers)),
            num_draining=sum(worker.is_draining for worker in workers),
        )

    async def stop(self) -> None:
        await self._capacity.close()
        await self._server.stop(_STOP_GRACE_S)
        self._until_stop.close()

    async def _start(self, registry: CollectorRegistry) -> None:
        serve_status(registry, self._addresses.metrics, lambda: self._server.is_serving)
        await self._server.start(self._addresses.rpc)
        await self._server.set_serving(True)
        log.info("routing at %s, metrics at %s", self._addresses.rpc, self._addresses.metrics)


class GlobalScheduler:
    """Actor: membership of the cluster, and care of the routers."""

    def __init__(self, addresses: Addresses, settings: SchedulerSettings) -> None:
        _begin_process("scheduler", settings)
        self._settings = settings
        self._addresses = addresses
        self._router_ports: set[int] = set()
        registry = process_registry()
        self._directory = Directory(self._find_router, settings.heartbeat_interval_s, DirectoryMetrics(registry))
        self._server = RpcServer(load_tls(settings.tls_folder))
        self._server.add(self._directory.register_with)
        self._started = asyncio.create_task(self._start(registry))
        self._supervisor = asyncio.create_task(self._supervise())

    async def ready(self) -> Addresses:
        await self._started
        return self._addresses

    async def summaries(self) -> list[GroupSummary]:
        """Every group at a glance; fails when this actor is no longer whole."""
        await self._started
        if self._supervisor.done():
            self._supervisor.result()
        return list(self._directory.summaries.values())

    async def stop(self) -> None:
        await self._server.stop(_STOP_GRACE_S)

    async def _start(self, registry: CollectorRegistry) -> None:
        serve_status(registry, self._addresses.metrics, lambda: self._server.is_serving)
        self._directory.metrics_address = _reachable(self._addresses.metrics)
        known = [name.removeprefix(ROUTER_PREFIX) for name in router_names()]
        for group in dict.fromkeys([*known, *self._settings.groups]):
            await self._directory.open_group(group)
        await self._server.start(self._addresses.rpc)
        await self._server.set_serving(True)
        log.info("membership at %s, metrics at %s", self._addresses.rpc, self._addresses.metrics)

    async def _supervise(self) -> None:
        await self._started
        while True:
            await asyncio.sleep(_SUPERVISION_INTERVAL_S)
            await self._directory.supervise()

    async def _find_router(self, group: str) -> "RayRouterHandle":
        name = ROUTER_PREFIX + group
        address = nth_address(self._settings.router_host, self._settings.router_base_port, self._router_ports)
        offset = len(self._router_ports) + 1
        addresses = Addresses(address, _offset_port(self._addresses.metrics, self._settings.metrics_address, offset))
        actor = create_actor(GroupRouter, name, group, addresses, self._settings)
        found = await actor_call(actor.ready.remote(), name)
        self._router_ports.add(port_of(found.rpc))
        return RayRouterHandle(actor, name, found)


class RayRouterHandle:
    """A router reached by actor calls, which wait for it while Ray restarts it."""

    def __init__(self, actor: Any, name: str, addresses: Addresses) -> None:
        self._actor = actor
        self._name = name
        self.address = addresses.rpc
        self.metrics_address = addresses.metrics

    async def admit(self, state: WorkerState) -> None:
        await actor_call(self._actor.admit.remote(state), self._name)

    async def summary(self) -> GroupSummary:
        summary: GroupSummary = await actor_call(self._actor.summary.remote(), self._name)
        self.address, self.metrics_address = summary.address, summary.metrics_address
        return summary

    def restart(self) -> None:
        """Kill the process of the router; Ray starts another."""
        ray.kill(self._actor, no_restart=False)


def create_actor(cls: type, name: str, *args: object, node_id: str | None = None) -> Any:
    """The actor of that name, made when there is none, on that node if it matters. Takes no CPU from planning tasks."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "lifetime": "detached"}
    if node_id is not None:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(cls).options(name=name, namespace=NAMESPACE, get_if_exists=True, **options).remote(*args)


def router_names() -> list[str]:
    """Names of the routers that live now."""
    return [name for name in ray.util.list_named_actors() if name.startswith(ROUTER_PREFIX)]


async def actor_call(answer: Awaitable[Result], name: str, timeout_s: float = _CALL_TIMEOUT_S) -> Result:
    """The answer of an actor; `WorkerLost` when it dies or takes longer than a restart may."""
    try:
        async with asyncio.timeout(timeout_s):
            return await answer
    except (RayError, TimeoutError) as error:
        raise WorkerLost(f"Actor {name} does not answer: {type(error).__name__}.") from error


def _rules(settings: SchedulerSettings) -> RouteRules:
    """How every group's router decides."""
    orders = OrderPolicies(
        routing=RoutingPolicy(stale_s=_MISSED_HEARTBEATS * settings.heartbeat_interval_s),
        slo=Slo(settings.ttft_slo_s, settings.tpot_slo_s),
    )
    return RouteRules(settings.routing, orders, lease_s=settings.lease_s)


def _begin_process(name: str, settings: SchedulerSettings) -> None:
    configure_logging(name, settings.log_level, settings.log_format == "json")
    # The parent is Ray's node process: when that is killed, the port must be free for the next one at once.
    lifecycle.die_with_parent(os.getppid())


def _reachable(bound: str) -> str:
    """The address as others see it: of this node when every interface was bound."""
    host, _, port = bound.rpartition(":")
    return f"{ray.util.get_node_ip_address()}:{port}" if host in ("0.0.0.0", "[::]") else bound


def _offset_port(bound: str, wanted: str, offset: int) -> str:
    """Routers serve /metrics on the ports after the global scheduler's, or on any when that was not fixed."""
    host, _, port = bound.rpartition(":")
    return settle(f"{host}:0") if wanted.endswith(":0") else f"{host}:{int(port) + offset}"
