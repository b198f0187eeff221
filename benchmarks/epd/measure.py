"""Runs of loads on several systems that stand side by side, in turns, so that the machine's noise hits all of them."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.epd.loads import Load
from benchmarks.epd.sides import FLAGS, NUM_WORKERS, Engine
from benchmarks.serving import START_TIMEOUT_S, system
from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.live_run import Patience
from penstock_loadgen.targets import LiveTarget, Outcome, live_target

_ENCODED = re.compile(r"^penstock_encode_images_total\{[^}]*\} (\S+)$", re.MULTILINE)
_POLL_S = 0.2
_WARM_UP_SEED = 10**6  # of no round


@dataclass(frozen=True)
class Running:
    """A system that answers."""

    name: str
    target: LiveTarget

    async def num_encoded(self) -> int:
        """Images through any vision tower since it started."""
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            addresses = await _metrics_addresses(client, self.target.endpoint.url)
            pages = [(await client.get(f"http://{address}/metrics")).raise_for_status().text for address in addresses]
        return round(sum(float(value) for page in pages for value in _ENCODED.findall(page)))


async def _metrics_addresses(client: httpx.AsyncClient, url: str) -> list[str]:
    cluster = (await client.get(f"{url}/cluster")).raise_for_status().json()
    return [worker["metrics_address"] for group in cluster["groups"] for worker in group["workers"]]


@asynccontextmanager
async def systems(names: Sequence[str], engine: Engine, folder: Path) -> AsyncIterator[list[Running]]:
    """One for each side, all workers of which are known to their gateway."""
    model = folder / engine.name
    if not model.exists():
        await asyncio.to_thread(engine.write_model, model)
    async with AsyncExitStack() as stack:
        running = []
        for name in names:
            port = await stack.enter_async_context(system(f"--model={model}", *engine.flags, *FLAGS[name]))
            url = f"http://127.0.0.1:{port}"
            await _wait_for_workers(url)
            running.append(Running(name, await asyncio.to_thread(live_target, EndpointSpec(url), Patience())))
        yield running


async def _wait_for_workers(url: str) -> None:
    async with asyncio.timeout(START_TIMEOUT_S), httpx.AsyncClient(trust_env=False) as client:
        while True:
            if len(await _metrics_addresses(client, url)) >= NUM_WORKERS:
                return
            await asyncio.sleep(_POLL_S)  # HTTP has no way to be told


async def warm_up(running: Sequence[Running], load: Load) -> None:
    """Links are opened, code is loaded; nothing is kept."""
    for one in running:
        await asyncio.to_thread(_play, one, load, _WARM_UP_SEED)


async def in_turns(running: Sequence[Running], loads: Sequence[Load], num_rounds: int) -> None:
    """Fills the loads' sheets. Who comes first changes with each round."""
    for number in range(num_rounds):
        for index, load in enumerate(loads):
            for one in running[:: -1 if (number + index) % 2 else 1]:
                before = await one.num_encoded()
                outcome = await asyncio.to_thread(_play, one, load, 1000 * number + index)
                load.record(one.name, outcome, await one.num_encoded() - before)


def _play(one: Running, load: Load, seed: int) -> Outcome:
    return one.target.run(load.workload(seed), lambda now_s, reading: None)
