"""Pods of our workers, watched: a pod that is gone is out of the router's sight at once, not after its lease.

Only an ear: without permission to watch, or while the API is away, leases do the same more slowly. A watch that breaks
begins again where it was, or from the present when that is too long ago (410).
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

import httpx2
from lightkube import AsyncClient
from lightkube.resources.core_v1 import Pod
from lightkube.types import OnErrorAction, OnErrorResult

log = logging.getLogger(__name__)

_COMPONENT = "app.kubernetes.io/component"
_GROUP = "penstock.dev/group"
_MAX_PAUSE_S = 10.0
_ENDED = ("Failed", "Succeeded")


class PodWatch:
    """Watches the workers of one group, until cancelled or forbidden."""

    def __init__(self, client: AsyncClient, group: str, on_gone: Callable[[str], None]) -> None:
        self._client = client
        self._labels: dict[str, Any] = {_COMPONENT: "worker", _GROUP: group}
        self._on_gone = on_gone
        self._ready: set[str] = set()
        self._changed = asyncio.Event()

    def is_ready(self, pod: str) -> bool:
        """Whether Kubernetes would send it traffic, as far as is known."""
        return pod in self._ready

    async def until_unready(self, pods: Collection[str]) -> None:
        """Wait until none of these is ready."""
        while any(map(self.is_ready, pods)):
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        async for what, pod in self._client.watch(Pod, labels=self._labels, on_error=_after_error):
            name = pod.metadata.name if pod.metadata else ""
            if not name:
                continue
            is_gone = what == "DELETED" or (pod.status is not None and pod.status.phase in _ENDED)
            if is_gone:
                self._on_gone(name)
            if is_gone or not _has_condition(pod, "Ready"):
                self._ready.discard(name)
            else:
                self._ready.add(name)
            self._changed.set()


def _has_condition(pod: Pod, kind: str) -> bool:
    conditions = pod.status.conditions or [] if pod.status else []
    return any(condition.type == kind and condition.status == "True" for condition in conditions)


def _after_error(error: Exception, num_errors: int) -> OnErrorResult:
    if isinstance(error, httpx2.HTTPStatusError) and error.response is not None and error.response.status_code == 403:
        log.warning("pods may not be watched: a worker that vanishes is noticed when its lease ends")
        return OnErrorResult(OnErrorAction.STOP)
    pause_s = min(0.25 * 2.0 ** min(num_errors - 1, 10), _MAX_PAUSE_S)
    log.info("the watch of pods broke (%s); again in %.2f s", error or type(error).__name__, pause_s)
    return OnErrorResult(OnErrorAction.RETRY, pause_s)
