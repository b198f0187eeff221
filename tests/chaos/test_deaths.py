"""Processes die as machines do that lose power; clients see a pause, never a lost, changed or repeated token."""

import asyncio
import os
import signal
from typing import Any

import httpx
import psutil

from tests.integration.system import System, complete, running_system, stream_tokens

SLOW_PREFILL = "--mock-costs=prefill_s=2.0,decode_s=0.005"
STEADY = "--mock-costs=prefill_s=0.002,decode_s=0.01"


def completion(prompt: str, **options: Any) -> dict[str, Any]:
    return {"model": "penstock-tiny", "prompt": prompt, "temperature": 0, "ignore_eos": True, **options}


def client_of(system: System) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=60.0, limits=limits)


async def worker_at_work(system: System, role: str) -> str:
    """The worker of a role that holds a sequence now."""
    while True:
        for worker_id, worker in (await system.workers()).items():
            if worker["role"] == role and worker["num_waiting"] + worker["num_running"] > 0:
                return worker_id
        await asyncio.sleep(0.05)


async def test_a_prefill_worker_killed_before_the_first_token_costs_a_pause() -> None:
    async with (
        running_system("--engine=mock", "--prefill=2", SLOW_PREFILL) as system,
        client_of(system) as client,
        asyncio.timeout(60),
    ):
        await system.wait_for_workers(3)
        answer = asyncio.create_task(complete(client, completion("Where does the river go?", max_tokens=20)))
        system.kill(await worker_at_work(system, "prefill"))
        disturbed = await answer
        calm = await complete(client, completion("Where does the river go?", max_tokens=20))
        assert disturbed["choices"][0]["text"] == calm["choices"][0]["text"]
        assert disturbed["usage"]["completion_tokens"] == 20


async def test_a_decode_worker_killed_in_mid_stream_loses_changes_and_repeats_no_token() -> None:
    """On the real engine: greedy and sampled streams go on exactly as they would have."""
    bodies = [
        completion("Once upon a time", max_tokens=600),
        completion("Once upon a time", max_tokens=600, temperature=1.0, seed=11, presence_penalty=0.5),
        completion("The mill by the river", max_tokens=600, temperature=0.7, top_p=0.9, seed=7),
    ]

    async with running_system("--decode=2") as system, client_of(system) as client, asyncio.timeout(90):
        await system.wait_for_workers(3)
        calm = [(await complete(client, body))["choices"][0]["text"] for body in bodies]
        reached_middle = asyncio.Event()

        async def streamed(body: dict[str, Any]) -> str:
            texts: list[str] = []
            async for text in stream_tokens(client, body):
                texts.append(text)
                if len(texts) == 100:
                    reached_middle.set()
            return "".join(texts)

        streams = [asyncio.create_task(streamed(body)) for body in bodies]
        await reached_middle.wait()
        system.kill("decode-0")
        await asyncio.sleep(0.5)
        system.kill("decode-1")
        assert await asyncio.gather(*streams) == calm


async def test_the_scheduler_killed_under_load_fails_no_request() -> None:
    async with (
        running_system("--engine=mock", "--prefill=2", "--decode=2", STEADY) as system,
        client_of(system) as client,
        asyncio.timeout(100),
    ):
        await system.wait_for_workers(4)
        first_router = (await system.cluster())["groups"][0]["router_address"]
        is_over = asyncio.Event()
        num_done = 0

        async def keep_asking(number: int) -> None:
            nonlocal num_done
            while not is_over.is_set():
                answer = await complete(client, completion(f"{number}: how deep?", max_tokens=30))
                assert answer["usage"]["completion_tokens"] == 30
                num_done += 1

        askers = [asyncio.create_task(keep_asking(number)) for number in range(20)]
        await asyncio.sleep(1)
        system.kill("scheduler")
        await asyncio.sleep(3)  # without any control plane
        num_without = num_done
        while (await system.cluster())["groups"][0]["router_address"] == first_router:
            await asyncio.sleep(0.2)
        await system.wait_for_workers(4)
        await asyncio.sleep(1)
        is_over.set()
        await asyncio.gather(*askers)
        assert num_done > num_without > 0


async def test_a_stopped_worker_is_left_behind() -> None:
    """A process that hangs (SIGSTOP) breaks no connection: silence must tell."""
    async with (
        running_system("--engine=mock", "--decode=2", "--stall-timeout-s=2", STEADY) as system,
        client_of(system) as client,
        asyncio.timeout(90),
    ):
        await system.wait_for_workers(3)
        body = completion("What turns the wheel?", max_tokens=200)
        calm = (await complete(client, body))["choices"][0]["text"]
        answer = asyncio.create_task(complete(client, body))
        stopped = psutil.Process(system.pid_of(await worker_at_work(system, "decode")))
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            assert (await answer)["choices"][0]["text"] == calm
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
