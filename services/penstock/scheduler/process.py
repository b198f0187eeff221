"""The scheduler process: holds Ray and the actors up, and takes them down with it."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from penstock.core.errors import WorkerLost
from penstock.runtime.lifecycle import EXIT_FAILED
from penstock.runtime.settings import SchedulerSettings
from penstock.scheduler.actors import (
    GLOBAL_SCHEDULER,
    Addresses,
    GlobalScheduler,
    actor_call,
    create_actor,
    router_names,
)
from penstock.scheduler.ports import require_free, settle
from penstock.scheduler.ray_session import NAMESPACE, ray_session

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 30.0
_CHECK_INTERVAL_S = 1.0
_CHECK_TIMEOUT_S = 10.0  # longer than Ray takes to restart an actor
_STOP_TIMEOUT_S = 2.0


async def serve(settings: SchedulerSettings, stop: asyncio.Event) -> int:
    """Run the control plane until `stop`; non-zero when it cannot be kept up."""
    with ray_session(settings.ray_address, settings.num_ray_cpus):
        await _end_actors()  # of an earlier scheduler process on a cluster: their settings and code may be older
        addresses = Addresses(settle(settings.address), settle(settings.metrics_address))
        require_free(addresses.rpc)  # a sentence here is better than a stack of Ray's
        # Workers and gateways look for it at an address of this node.
        node_id = ray.get_runtime_context().get_node_id()
        scheduler = create_actor(GlobalScheduler, GLOBAL_SCHEDULER, addresses, settings, node_id=node_id)
        try:
            await actor_call(scheduler.ready.remote(), GLOBAL_SCHEDULER, _START_TIMEOUT_S)
            log.info("ready at %s", addresses.rpc)
            return await _watch(scheduler, stop)
        finally:
            await _end_actors()


async def _watch(scheduler: Any, stop: asyncio.Event) -> int:
    while not stop.is_set():
        try:
            await actor_call(scheduler.summaries.remote(), GLOBAL_SCHEDULER, _CHECK_TIMEOUT_S)
        except WorkerLost as error:
            log.error("the control plane is lost: %s", error.message)
            return EXIT_FAILED
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _CHECK_INTERVAL_S)
    return 0


async def _end_actors() -> None:
    """Stop serving and end every actor of ours, the global scheduler first, so that it restarts no router."""
    for name in [GLOBAL_SCHEDULER, *router_names()]:
        with suppress(RayError, WorkerLost, ValueError):  # ValueError: there is no such actor
            actor = ray.get_actor(name, namespace=NAMESPACE)
            with suppress(WorkerLost):
                await actor_call(actor.stop.remote(), name, _STOP_TIMEOUT_S)
            ray.kill(actor)
