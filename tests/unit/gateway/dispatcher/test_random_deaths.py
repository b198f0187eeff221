"""Anything dies at any time; the tokens are those of an undisturbed run."""

import asyncio
import random

import pytest

from penstock.core.types import Role
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.limits import DispatchLimits
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.requests import expected_tokens, make_request, read
from tests.unit.gateway.dispatcher.virtual_time import pass_time

NAMES = ["prefill-0", "prefill-1", "decode-0", "decode-1", "mixed-0"]
ROLES = {"prefill": Role.PREFILL, "decode": Role.DECODE, "mixed": Role.MIXED}


async def disturb(cluster: FakeCluster, dice: random.Random) -> None:
    """Workers die and come back, streams break, workers fill up, the control plane comes and goes."""
    for _ in range(30):
        await pass_time(dice.uniform(0.001, 0.03))
        worker = cluster.workers[dice.choice(NAMES)]
        event = dice.choice(("kill router", "start router", "break streams", "fill", "kill", "kill"))
        if event == "kill router":
            cluster.kill_router()
        elif event == "start router":
            cluster.is_router_up = cluster.is_scheduler_up = True
        elif event == "break streams":
            worker.break_streams()
        elif event == "fill":
            worker.is_full = not worker.is_full
        else:
            cluster.remove(worker)
            await pass_time(dice.uniform(0.0, 0.02))
            cluster.add(worker.ref.worker_id, worker.role)
    cluster.is_router_up = cluster.is_scheduler_up = True
    for worker in cluster.workers.values():
        worker.is_full = False


@pytest.mark.parametrize("seed", range(40))
def test_random_deaths_never_change_the_tokens(cluster: FakeCluster, seed: int) -> None:
    dice = random.Random(seed)
    cluster.limits = DispatchLimits(max_losses=1000)
    for name in NAMES:
        cluster.add(name, ROLES[name[:-2]], capacity=dice.choice((3, 100)))

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        requests = [make_request(f"r{index}", dice.randint(1, 60), num_prompt=20) for index in range(25)]
        disturbance = asyncio.create_task(disturb(cluster, dice))
        results = await asyncio.gather(*(read(dispatcher.generate(request)) for request in requests))
        assert results == [expected_tokens(request) for request in requests]
        await disturbance

    cluster.run(scenario)
