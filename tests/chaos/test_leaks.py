"""After a storm of requests, a third of them cancelled at random moments, nothing is held any more."""

import asyncio
import random
from dataclasses import replace

import httpx

from penstock.wire.control_messages import Holdings
from tests.chaos.test_deaths import client_of, completion
from tests.integration.system import System, complete, running_system, stream_tokens

NUM_STREAMS = 200
NOTHING = Holdings()


async def one_stream(client: httpx.AsyncClient, number: int, draw: random.Random) -> int:
    """Stream to the end, or leave at a random moment; how many tokens were seen of a stream that was not left."""
    body = completion(f"{number}: " + "the river and the mill " * draw.randrange(1, 40), max_tokens=100)
    if number % 3:
        body["stream_options"] = {"include_usage": True}
        num_tokens = (await complete(client, body | {"stream_options": None}))["usage"]["completion_tokens"]
        return int(num_tokens)

    async def read() -> None:
        async for _ in stream_tokens(client, body):
            pass

    try:
        async with asyncio.timeout(draw.uniform(0, 1.0)):
            await read()
    except TimeoutError:
        pass
    return 0


async def settled(system: System) -> dict[str, Holdings]:
    """What is held once nothing changes any more; open files are the caller's to compare."""
    async with asyncio.timeout(15):
        while True:
            holdings = await system.holdings()
            is_idle = all(replace(held, num_open_files=0) == NOTHING for held in holdings.values())
            if is_idle and (await system.cluster())["gateway"]["num_requests"] == 0:
                return holdings
            await asyncio.sleep(0.2)


async def num_open_files(system: System) -> dict[str, int]:
    """Of every worker and the gateway, once nothing is held."""
    held = {worker_id: holdings.num_open_files for worker_id, holdings in (await settled(system)).items()}
    return {**held, "gateway": system.num_open_files("gateway")}


async def storm(system: System, seed: int) -> None:
    draws = random.Random(seed)
    async with client_of(system) as client:
        streams = [one_stream(client, number, random.Random(draws.random())) for number in range(NUM_STREAMS)]
        num_tokens = await asyncio.gather(*streams)
    assert all(seen == 100 for number, seen in enumerate(num_tokens) if number % 3)


async def check_no_leak(*flags: str) -> None:
    # a flip in the second storm would open links that the first had no need of
    flags = ("--prefill=2", "--decode=2", "--steering=pinned", *flags)
    async with running_system(*flags) as system, asyncio.timeout(100):
        await system.wait_for_workers(4)
        await storm(system, seed=1)  # opens every connection there will be
        before = await num_open_files(system)
        await storm(system, seed=2)
        more = await num_open_files(system)
        deadline_s = asyncio.get_running_loop().time() + 10  # what clients left open is closed a moment after them
        while any(more[name] > before[name] for name in before) and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.2)
            more = await num_open_files(system)
        assert all(more[name] <= before[name] for name in before), (before, more)


async def test_a_storm_on_the_mock_engine_leaves_nothing_held() -> None:
    await check_no_leak("--engine=mock", "--mock-costs=prefill_s=0.005,decode_s=0.005")


async def test_a_storm_on_the_torch_engine_leaves_nothing_held() -> None:
    await check_no_leak("--kv-memory-bytes=64MiB")
