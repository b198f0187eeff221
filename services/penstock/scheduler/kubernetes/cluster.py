"""What a router has of Kubernetes: its pools, its pods, a place to tell of changes. One per group and process."""

import asyncio
import logging

from penstock.scheduler.kubernetes.api import KubernetesApi
from penstock.scheduler.kubernetes.pod_watch import PodWatch
from penstock.scheduler.kubernetes.pool_names import PoolNames
from penstock.scheduler.kubernetes.scaler import Drain, KubernetesScaler

log = logging.getLogger(__name__)


class KubernetesCluster:
    """`run` watches pods and tells of changes, for ever."""

    def __init__(self, api: KubernetesApi, pods: PodWatch, pools: PoolNames, drain: Drain) -> None:
        self.scaler = KubernetesScaler(api, pools, pods, drain)
        self._api = api
        self._pods = pods
        self._news: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def tell(self, pod: str, message: str) -> None:
        """Put an event on a pod, soon."""
        self._news.put_nowait((pod, message))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run())
            while True:
                pod, message = await self._news.get()
                await self._api.tell(pod, "RoleChange", message)

    async def close(self) -> None:
        await self._api.close()
