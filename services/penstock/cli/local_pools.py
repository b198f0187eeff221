"""Pools on one machine: `penstock up` starts and ends worker processes when the scheduler asks it to."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import grpc

from penstock.cli.stack import worker_spec
from penstock.cli.supervisor import Supervisor
from penstock.core.errors import ChangeRefused
from penstock.core.types import Role
from penstock.runtime import rpc
from penstock.runtime.settings import WorkerSettings
from penstock.wire import control_stubs
from penstock.wire.control_messages import (
    GrowRequest,
    GrowResponse,
    RestartRequest,
    RestartResponse,
    ShrinkRequest,
    ShrinkResponse,
)

Context = grpc.aio.ServicerContext[Any, Any]


class LocalPools:
    """The Pools service of one `penstock up`; every worker is like `template`, but for name and role."""

    def __init__(self, supervisor: Supervisor, workers: tuple[WorkerSettings, ...]) -> None:
        self._supervisor = supervisor
        self._workers = {worker.worker_id: worker for worker in workers}  # each that was ever started
        self._template = workers[0]

    def register(self, server: grpc.aio.Server) -> None:
        control_stubs.add_pools(server, self.grow, self.shrink, self.restart)

    async def grow(self, request: GrowRequest, context: Context) -> GrowResponse:
        """Start workers of a role, named by it with the first free numbers."""
        names = [self._start(request.group, request.role) for _ in range(request.num_workers)]
        return GrowResponse(names)

    async def shrink(self, request: ShrinkRequest, context: Context) -> ShrinkResponse:
        """Have workers drain and go."""
        await self._require(request.worker_ids, context)
        for worker_id in request.worker_ids:
            self._supervisor.remove(worker_id)
        return ShrinkResponse()

    async def restart(self, request: RestartRequest, context: Context) -> RestartResponse:
        """Have a worker drain and come again."""
        await self._require([request.worker_id], context)
        spec = worker_spec(self._workers[request.worker_id])
        self._supervisor.remove(request.worker_id, lambda: self._supervisor.add(spec))
        return RestartResponse()

    async def _require(self, worker_ids: Sequence[str], context: Context) -> None:
        for worker_id in worker_ids:
            if worker_id not in self._workers or worker_id not in self._supervisor.names:
                await rpc.abort(context, ChangeRefused(f"'{worker_id}' is no process of this machine."))

    def _start(self, group: str, role: Role) -> str:
        taken = self._supervisor.names
        name = next(name for number in count() if (name := f"{role.value}-{number}") not in taken)
        worker = self._workers[name] = replace(self._template, worker_id=name, role=role.value, group=group)
        self._supervisor.add(worker_spec(worker))
        return name
