"""The few calls of ours to the Kubernetes API, with a deadline each, and its refusals as sentences.

get, patch   deployments/scale   a merge patch that names the resourceVersion it is based on: 409 when somebody
                                 else was faster, then read again; 429 waits as long as it says
create       events              if allowed
watch        pods                `pod_watch`
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import httpx2
from lightkube import AsyncClient
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.models.autoscaling_v1 import Scale
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from penstock.core.errors import ChangeRefused, InvalidSettings, WorkerLost

log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 5.0
_MAX_TRIES = 5
_MAX_RETRY_AFTER_S = 5.0
_COMPONENT = "penstock-scheduler"

Result = TypeVar("Result")


def connect(config: KubeConfig | None = None) -> AsyncClient:
    """A client for the cluster this process runs in, or that KUBECONFIG names."""
    try:
        return AsyncClient(config, timeout=httpx2.Timeout(_CALL_TIMEOUT_S), field_manager=_COMPONENT, trust_env=False)
    except ConfigError as error:
        raise InvalidSettings("scaler", "kubernetes", f"there is no cluster to talk to: {error}") from error


class KubernetesApi:
    """Deployments by name, in the namespace of the scheduler."""

    def __init__(self, client: AsyncClient, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._client = client
        self._now = now
        self._may_create_events = True

    async def add_replicas(self, deployment: str, num_more: int) -> int:
        """Change the number of replicas by `num_more`, which may be negative; returns the new number."""

        async def change() -> int:
            scale = await self._client.get(Deployment.Scale, deployment)
            wanted = max(0, (scale.spec.replicas or 0 if scale.spec else 0) + num_more)
            version = scale.metadata.resourceVersion if scale.metadata else None
            body = {"metadata": {"resourceVersion": version}, "spec": {"replicas": wanted}}
            changed: Scale = await self._client.patch(Deployment.Scale, deployment, body, patch_type=PatchType.MERGE)
            return changed.spec.replicas or 0 if changed.spec else 0

        return await self._persist(f"scale the deployment '{deployment}'", change)

    async def tell(self, pod: str, reason: str, message: str) -> None:
        """Put an event on a pod, for `kubectl describe`. Without permission nothing is told, once with a warning."""
        if not self._may_create_events:
            return
        now = self._now()
        namespace = self._client.namespace
        event = Event(
            metadata=ObjectMeta(generateName=f"{pod}.", namespace=namespace),
            involvedObject=ObjectReference(apiVersion="v1", kind="Pod", name=pod, namespace=namespace),
            reason=reason,
            message=message,
            type="Normal",
            source=EventSource(component=_COMPONENT),
            firstTimestamp=now,
            lastTimestamp=now,
            count=1,
        )
        try:
            await self._client.create(event)
        except httpx2.HTTPError as error:
            self._may_create_events = not _is_forbidden(error)
            log.warning("cannot put an event on pod %s: %s", pod, error)

    async def close(self) -> None:
        await self._client.close()

    async def _persist(self, what: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """Until it is done, refused for good, or tried often enough."""
        for _ in range(_MAX_TRIES):
            try:
                return await call()
            except ApiError as error:
                if error.status.code not in (409, 429):
                    raise ChangeRefused(f"Kubernetes does not let us {what}: {error.status.message}") from error
                await asyncio.sleep(_retry_after_s(error))
            except httpx2.HTTPError as error:
                raise WorkerLost(f"The Kubernetes API does not answer: {error or type(error).__name__}.") from error
        raise ChangeRefused(f"Kubernetes did not let us {what} in {_MAX_TRIES} tries: others change it, or it is busy.")


def _is_forbidden(error: httpx2.HTTPError) -> bool:
    return isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == 403


def _retry_after_s(error: ApiError) -> float:
    """What a 429 asks for; after a conflict at once."""
    details = error.status.details
    return min(float(details.retryAfterSeconds or 0) if details else 0.0, _MAX_RETRY_AFTER_S)
