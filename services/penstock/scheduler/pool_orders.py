"""What is ordered of a group, by operators and by its role controller: scale, flip, rollout.

Planned by `policies.pool_changes`, carried out here, one order at a time: two at once would count the same workers.
A rollout goes on after its answer, one worker at a time:

    restart W --> gone, or draining --> another life serves --> the next one
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from penstock.core.errors import ChangeRefused, InternalError, PenstockError
from penstock.core.policies.pool_changes import PoolChange, plan_flip, plan_scale
from penstock.core.types import Role, WorkerRef, WorkerState
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.scheduler.scaler import Scaler
from penstock.wire import control_stubs
from penstock.wire.control_messages import FlipRequest, FlipResponse

log = logging.getLogger(__name__)

_FLIP_TIMEOUT_S = 2.0
_COMES_BACK_S = 600.0  # a worker that is not back by then ends the rollout: the next ones shall not go the same way

OnChange = Callable[[str, str, str], None]  # subject, change, outcome


class PoolOrders:
    """Carries out the orders for one group."""

    def __init__(
        self, workers: Callable[[], Sequence[WorkerState]], scaler: Scaler, channels: Channels, on_change: OnChange
    ) -> None:
        self.changed = asyncio.Event()  # to be set whenever the membership has changed
        self._workers = workers
        self._scaler = scaler
        self._channels = channels
        self._on_change = on_change
        self._one_at_a_time = asyncio.Lock()
        self._rollout: asyncio.Task[None] | None = None

    async def scale(
        self,
        targets: Sequence[tuple[Role, int]],
        *,
        is_dry_run: bool = False,
        on_begun: Callable[[PoolChange], None] = lambda change: None,
    ) -> list[PoolChange]:
        """Begin to give each role its count. Whoever orders it tells of it; `on_begun` hears of each role, even when
        the next one fails."""
        async with self._alone(is_dry_run):
            changes, refusal = plan_scale(targets, self._workers())
            if refusal is not None:
                raise refusal
            begun: list[PoolChange] = []
            for change in changes:
                if not is_dry_run and change.num_before != change.num_after:
                    await self._resize(change, begun)
                    begun.append(change)
                    on_begun(change)
            return changes

    async def flip(self, worker_id: str, role: Role, *, group: str = "", is_dry_run: bool = False) -> FlipResponse:
        """Give one worker another role, now, or another group, once it is idle. Whoever orders it tells of it."""
        async with self._alone(is_dry_run):
            worker, refusal = plan_flip(worker_id, role, self._workers(), leaves=bool(group))
            if worker is None or refusal is not None:
                raise refusal or ChangeRefused(f"There is no worker '{worker_id}'.")
            if is_dry_run or (worker.role is role and group in ("", worker.group)):
                return FlipResponse(worker.role, worker.num_running + worker.num_waiting)
            method = control_stubs.WORKER_FLIP.unary(self._channels.get(worker.ref.address))
            return await rpc.call(
                method, FlipRequest(role, worker.ref.incarnation, group), timeout_s=_FLIP_TIMEOUT_S, retries=1
            )

    def begin_rollout(self, roles: Sequence[Role], *, is_dry_run: bool = False) -> list[str]:
        """Begin to replace workers one by one; returns who will be, in order."""
        self._refuse_during_rollout()
        serving = (worker for worker in self._workers() if not worker.is_draining)
        chosen = [worker.ref for worker in serving if not roles or worker.role in roles]
        if not is_dry_run:
            self._rollout = asyncio.create_task(self._roll(chosen))
        return [ref.worker_id for ref in chosen]

    async def close(self) -> None:
        """A rollout ends where it is."""
        if self._rollout is not None:
            self._rollout.cancel()
            with suppress(asyncio.CancelledError):
                await self._rollout

    @asynccontextmanager
    async def _alone(self, is_dry_run: bool) -> AsyncIterator[None]:
        """While no other order is carried out. A rollout is not waited for: it takes minutes. A dry run minds none."""
        if is_dry_run:
            yield
            return
        self._refuse_during_rollout()
        async with self._one_at_a_time:
            yield

    def _refuse_during_rollout(self) -> None:
        if self._rollout is not None and not self._rollout.done():
            raise ChangeRefused("A rollout is under way; wait for its end.")

    async def _resize(self, change: PoolChange, begun: Sequence[PoolChange]) -> None:
        try:
            if change.num_to_start:
                await self._scaler.grow(change.role, change.num_to_start)
            else:
                await self._scaler.shrink(change.ending)
        except PenstockError as error:
            if not begun:
                raise
            told = ", ".join(f"{one.role.value} {one.num_before} to {one.num_after}" for one in begun)
            raise InternalError(f"{change.role.value}: {error.message} Begun before that: {told}.") from error

    async def _roll(self, refs: Sequence[WorkerRef]) -> None:
        for ref in refs:
            try:
                async with self._one_at_a_time, asyncio.timeout(_COMES_BACK_S):
                    await self._renew(ref)
            except TimeoutError:
                self._on_change(ref.worker_id, "replaced", f"not back after {_COMES_BACK_S:g} s; the rollout ends")
                return
            except PenstockError as error:
                self._on_change(ref.worker_id, "replaced", f"{error.message} The rollout ends.")
                return
            self._on_change(ref.worker_id, "replaced", "done")

    async def _renew(self, ref: WorkerRef) -> None:
        """Restart, and wait until a life serves that was not there before; its name may be another one."""
        known = {worker.ref for worker in self._workers()}
        await self._scaler.restart(ref.worker_id)
        while True:
            self.changed.clear()
            serving = {worker.ref for worker in self._workers() if not worker.is_draining}
            if ref not in serving and serving - known:
                return
            await self.changed.wait()
