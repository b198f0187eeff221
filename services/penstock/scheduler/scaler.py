"""Who starts and ends worker processes on the router's behalf: a Pools service (`penstock up`), Kubernetes, or nobody.

Every call returns when the change has begun; that it is done shows in the membership. Raises `ChangeRefused` with a
sentence for the operator, or `WorkerLost` when whoever should act does not answer.
"""

from collections.abc import Sequence
from typing import Protocol

from penstock.core.errors import ChangeRefused
from penstock.core.types import Role
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.wire import control_stubs
from penstock.wire.control_messages import GrowRequest, RestartRequest, ShrinkRequest

_CALL_TIMEOUT_S = 5.0


class Scaler(Protocol):
    """Starts and ends the worker processes of one group."""

    async def grow(self, role: Role, num_workers: int) -> None:
        """Start that many more workers of a role."""
        ...

    async def shrink(self, worker_ids: Sequence[str]) -> None:
        """Have these workers drain and go."""
        ...

    async def restart(self, worker_id: str) -> None:
        """Have a worker drain and come again as its pool is defined now."""
        ...


class NoScaler:
    """For workers that somebody else starts."""

    async def grow(self, role: Role, num_workers: int) -> None:
        raise ChangeRefused("Nothing here starts workers: run them with `penstock up`, on Kubernetes, or by hand.")

    async def shrink(self, worker_ids: Sequence[str]) -> None:
        raise ChangeRefused("Nothing here would keep them ended; `penstock drain WORKER` ends one worker.")

    async def restart(self, worker_id: str) -> None:
        raise ChangeRefused("Nothing here would start them again; restart workers by hand.")


class RpcScaler:
    """Asks the Pools service at an address."""

    def __init__(self, group: str, address: str, channels: Channels) -> None:
        channel = channels.get(address)
        self._group = group
        self._grow = control_stubs.POOLS_GROW.unary(channel)
        self._shrink = control_stubs.POOLS_SHRINK.unary(channel)
        self._restart = control_stubs.POOLS_RESTART.unary(channel)

    async def grow(self, role: Role, num_workers: int) -> None:
        await rpc.call(self._grow, GrowRequest(self._group, role, num_workers), timeout_s=_CALL_TIMEOUT_S)

    async def shrink(self, worker_ids: Sequence[str]) -> None:
        await rpc.call(self._shrink, ShrinkRequest(worker_ids), timeout_s=_CALL_TIMEOUT_S)

    async def restart(self, worker_id: str) -> None:
        await rpc.call(self._restart, RestartRequest(worker_id), timeout_s=_CALL_TIMEOUT_S)
