"""Capacity moves while traffic flows: flips, scaling up and down, a rollout; and no stream notices."""

import asyncio
import subprocess
from typing import Any

import httpx

from tests.integration.system import PENSTOCK, System, running_system, stream_tokens

NUM_TOKENS = 40
BODY = {"model": "penstock-tiny", "max_tokens": NUM_TOKENS, "ignore_eos": True, "temperature": 0}


class Traffic:
    """Streams, several at a time, one after another, until told to stop."""

    def __init__(self, system: System, num_at_once: int) -> None:
        self.answers: list[tuple[int, str]] = []  # prompt number, text
        self.failures: list[str] = []
        self._client = httpx.AsyncClient(base_url=system.url, timeout=30.0, trust_env=False)
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._flow(number)) for number in range(num_at_once)]

    async def end(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        await self._client.aclose()

    async def _flow(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append((number, await self._one(f"{number} The river and the mill. ")))
            except (httpx.HTTPError, AssertionError) as error:
                self.failures.append(repr(error))

    async def _one(self, prompt: str) -> str:
        texts = [text async for text in stream_tokens(self._client, {**BODY, "prompt": prompt})]
        assert texts
        return "".join(texts)


async def order(system: System, *words: str) -> str:
    """A command of the CLI, as an operator types it."""
    command = [*PENSTOCK, *words, f"--url={system.url}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def roles(system: System) -> dict[str, str]:
    return {name: worker["role"] for name, worker in (await system.workers()).items() if not worker["is_draining"]}


async def changes(system: System) -> list[dict[str, Any]]:
    [group] = (await system.cluster())["groups"]
    return list(group["role_changes"])


async def test_no_stream_notices_flips_scaling_and_a_rollout() -> None:
    flags = ("--engine=mock", "--mock-costs=decode_s=0.02", "--prefill=2", "--decode=2", "--steering=pinned")
    async with running_system(*flags) as system:
        await system.wait_for_workers(4)
        traffic = Traffic(system, num_at_once=8)

        await order(system, "flip", "decode-1", "prefill")
        await asyncio.sleep(1.0)
        assert (await roles(system))["decode-1"] == "prefill"
        await order(system, "flip", "decode-1", "decode")

        assert "2 to 3 workers" in await order(system, "scale", "decode=3", "--wait")
        assert sorted((await roles(system)).values()) == ["decode", "decode", "decode", "prefill", "prefill"]
        assert "drain and go" in await order(system, "scale", "decode=1", "prefill=1", "--wait")
        assert sorted((await roles(system)).values()) == ["decode", "prefill"]
        await order(system, "scale", "decode=2", "prefill=2", "--wait")

        lives = {name: worker["incarnation"] for name, worker in (await system.workers()).items()}
        await order(system, "rollout")
        async with asyncio.timeout(60):
            while sum(change["change"] == "replaced" for change in await changes(system)) < 4:
                await asyncio.sleep(0.2)
        now = {name: worker["incarnation"] for name, worker in (await system.workers()).items()}
        assert now.keys() == lives.keys()
        assert all(now[name] != lives[name] for name in lives)

        await traffic.end()
        assert traffic.failures == []
        assert len(traffic.answers) > 20
        by_prompt = {number: {text for other, text in traffic.answers if other == number} for number in range(8)}
        assert all(len(texts) == 1 for texts in by_prompt.values()), "an answer depends on where it was made"
        held = await system.holdings()
        assert all(holdings.num_sequences == holdings.num_reservations == 0 for holdings in held.values())
