"""Scaling on Kubernetes: replicas of Deployments are patched; who goes is chosen by draining it first.

    shrink: drain W by RPC --> W is not ready --> replicas - 1: a ReplicaSet removes pods that are not ready first

Without permission to mark pods (pod-deletion-cost) this is how the least loaded worker is the one that goes. Were it
not seen to be unready in time, Kubernetes would choose another one, which then drains on SIGTERM like any other.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from penstock.core.types import Role
from penstock.scheduler.kubernetes.api import KubernetesApi
from penstock.scheduler.kubernetes.pod_watch import PodWatch
from penstock.scheduler.kubernetes.pool_names import PoolNames

_UNREADY_WITHIN_S = 15.0  # a readiness probe period, and a little

Drain = Callable[[str], Awaitable[None]]


class KubernetesScaler:
    """The pools of one group."""

    def __init__(self, api: KubernetesApi, pools: PoolNames, pods: PodWatch, drain: Drain) -> None:
        self._api = api
        self._pools = pools
        self._pods = pods
        self._drain = drain

    async def grow(self, role: Role, num_workers: int) -> None:
        await self._api.add_replicas(self._pools.of_role(role), num_workers)

    async def shrink(self, worker_ids: Sequence[str]) -> None:
        """All pools are found before anybody drains: a name that is none of ours changes nothing."""
        counts = Counter(self._pools.of_worker(worker_id) for worker_id in worker_ids)
        await asyncio.gather(*map(self._drain, worker_ids))
        await self._until_unready(worker_ids)
        for deployment, num_workers in counts.items():
            await self._api.add_replicas(deployment, -num_workers)

    async def restart(self, worker_id: str) -> None:
        """The process drains and ends, and its pod's container is started again: what changed in the pool's template is
        rolled out by Kubernetes itself."""
        self._pools.of_worker(worker_id)
        await self._drain(worker_id)

    async def _until_unready(self, worker_ids: Sequence[str]) -> None:
        try:
            async with asyncio.timeout(_UNREADY_WITHIN_S):
                await self._pods.until_unready(worker_ids)
        except TimeoutError:
            return
