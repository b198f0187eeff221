"""Which groups there are and who routes for each: registration of workers, joining of gateways, care of routers.

Without Ray: routers are reached through `RouterHandle`, which `actors` implements by actor calls.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from penstock.core.errors import PenstockError, WorkerLost
from penstock.core.types import WorkerState
from penstock.runtime import rpc
from penstock.scheduler.metrics import DirectoryMetrics
from penstock.wire import stubs
from penstock.wire.messages import JoinRequest, JoinResponse, RegisterRequest, RegisterResponse

log = logging.getLogger(__name__)

_MAX_SILENT_ROUNDS = 5

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A group at a glance, as its router sees it."""

    group: str
    address: str  # of the router; another one after Ray had to move it to another node
    num_workers: Mapping[str, int] = field(default_factory=dict)  # by role
    num_draining: int = 0
    metrics_address: str = ""  # of the router


class RouterHandle(Protocol):
    """A group's router, wherever it runs. Raises `WorkerLost` while it does not answer."""

    @property
    def address(self) -> str: ...
    @property
    def metrics_address(self) -> str: ...
    async def admit(self, state: WorkerState) -> None: ...
    async def summary(self) -> GroupSummary: ...
    def restart(self) -> None: ...


class Directory:
    """Groups by name, in the order in which they came up."""

    def __init__(
        self,
        create_router: Callable[[str], Awaitable[RouterHandle]],
        heartbeat_interval_s: float,
        metrics: DirectoryMetrics,
    ) -> None:
        self._create_router = create_router
        self._heartbeat_interval_s = heartbeat_interval_s
        self._metrics = metrics
        self._routers: dict[str, RouterHandle] = {}
        self._creating = asyncio.Lock()
        self._num_silent_rounds: dict[str, int] = {}
        self.summaries: dict[str, GroupSummary] = {}
        self.metrics_address = ""  # of the global scheduler, once it is bound

    def register_with(self, server: grpc.aio.Server) -> None:
        stubs.add_membership(server, self.register, self.join)

    async def open_group(self, group: str) -> RouterHandle:
        """The router of a group, made when there is none yet."""
        async with self._creating:
            router = self._routers.get(group)
            if router is None:
                router = self._routers[group] = await self._create_router(group)
                log.info("group '%s' is routed at %s", group, router.address)
            return router

    async def register(self, request: RegisterRequest, context: Context) -> RegisterResponse:
        """Introduce a worker to the router of its group."""
        state = request.state
        try:
            router = await self.open_group(state.group)
            await router.admit(state)
        except PenstockError as error:
            self._metrics.registered(state.group, error.code)
            await rpc.abort(context, error)
        self._metrics.registered(state.group, "admitted")
        return RegisterResponse(router.address, self._heartbeat_interval_s)

    async def join(self, request: JoinRequest, context: Context) -> JoinResponse:
        """Tell a gateway where the routers are."""
        log.info("gateway %s joined", request.gateway_id)
        metrics_addresses = [router.metrics_address for router in self._routers.values()]
        return JoinResponse(
            [(group, router.address) for group, router in self._routers.items()],
            [self.metrics_address, *metrics_addresses] if self.metrics_address else metrics_addresses,
        )

    async def supervise(self) -> None:
        """One round: ask every router how its group is, restart one that has not answered for several rounds."""
        routers = list(self._routers.items())
        answers = await asyncio.gather(*(self._ask(group, router) for group, router in routers))
        self._metrics.observe_routers(sum(answers), len(answers) - sum(answers))

    async def _ask(self, group: str, router: RouterHandle) -> bool:
        try:
            self.summaries[group] = await router.summary()
        except WorkerLost as error:
            silent = self._num_silent_rounds[group] = self._num_silent_rounds.get(group, 0) + 1
            log.warning("the router of group '%s' does not answer: %s", group, error.message)
            if silent >= _MAX_SILENT_ROUNDS:
                self._num_silent_rounds[group] = 0
                router.restart()
            return False
        self._num_silent_rounds[group] = 0
        return True
