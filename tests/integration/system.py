"""The real system as child processes, for tests: start it, find its processes, kill them, count what is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from penstock.cli.ports import free_port
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.wire import control_stubs
from penstock.wire.control_messages import Holdings, HoldingsRequest

START_TIMEOUT_S = 90.0
PENSTOCK = (sys.executable, "-m", "penstock.cli.main")


class System:
    """`penstock up` and what it started."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    async def wait_until_ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            await _wait_until_ready(client, lambda: self.process.poll() is None, self.log.read_text)

    async def cluster(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.url}/cluster")
            return dict(answer.raise_for_status().json())

    async def workers(self) -> dict[str, dict[str, Any]]:
        """What the gateway knows of each worker, by id."""
        groups = (await self.cluster())["groups"]
        return {worker["worker_id"]: worker for group in groups for worker in group["workers"]}

    async def wait_for_workers(self, num_workers: int) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while len(await self.workers()) < num_workers:
                await asyncio.sleep(0.1)

    async def holdings(self) -> dict[str, Holdings]:
        """What every worker holds right now."""
        channels = Channels()
        try:
            return {
                worker_id: await rpc.call(
                    control_stubs.WORKER_HOLDINGS.unary(channels.get(worker["address"])),
                    HoldingsRequest(),
                    timeout_s=5.0,
                )
                for worker_id, worker in (await self.workers()).items()
            }
        finally:
            await channels.close()

    def pid_of(self, name: str) -> int:
        """The process of a worker ("prefill-0"), of the gateway or of the scheduler."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if child.status() == psutil.STATUS_ZOMBIE:
                continue
            command = child.cmdline()
            if f"--worker-id={name}" in command or (name in ("gateway", "scheduler") and name in command):
                return child.pid
        raise AssertionError(f"no process {name} below {self.process.pid}")

    def kill(self, name: str) -> None:
        """As a machine that loses power: no goodbye."""
        os.kill(self.pid_of(name), signal.SIGKILL)

    def num_open_files(self, name: str) -> int:
        return psutil.Process(self.pid_of(name)).num_fds()


@asynccontextmanager
async def running_system(*flags: str) -> AsyncIterator[System]:
    """`penstock up` with these flags, ready; ended with SIGINT and checked to have left nothing running."""
    port = free_port()
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen([*PENSTOCK, "up", f"--port={port}", *flags], stdout=log, stderr=log)
        system = System(process, port, Path(log.name))
        try:
            await system.wait_until_ready()
            yield system
        except BaseException:
            sys.stderr.write(system.log.read_text()[-20_000:])
            raise
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.to_thread(process.wait, 30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            _, alive = psutil.wait_procs(children, timeout=5)
            assert not alive, f"left running: {alive}"


async def complete(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """One completion, not streamed."""
    answer = await client.post("/v1/completions", json=body)
    assert answer.is_success, answer.text
    return dict(answer.json())


async def stream_tokens(client: httpx.AsyncClient, body: dict[str, Any]) -> AsyncIterator[str]:
    """The texts of a streamed completion, as they come."""
    async with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
        assert answer.is_success, (await answer.aread()).decode()
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            for choice in event["choices"]:
                yield choice["text"]


class Group:
    """A prefill worker, a decode worker and a gateway of their own, under a scheduler shared with other groups."""

    def __init__(self, scheduler_address: str, name: str, folder: Path, worker_flags: tuple[str, ...]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        shared = (f"--scheduler-address={scheduler_address}", f"--group={name}", f"--model={folder}")
        pools = [
            (*PENSTOCK, "worker", f"--worker-id={role}-{name}", f"--role={role}", *shared, *worker_flags)
            for role in ("prefill", "decode")
        ]
        gateway = (*PENSTOCK, "gateway", f"--gateway-id=gateway-{name}", f"--port={self.port}", *shared)
        self._log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115  # closed in `stop`
        self._processes = [
            subprocess.Popen(command, stdout=self._log, stderr=self._log) for command in [*pools, gateway]
        ]

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text()

    def is_alive(self) -> bool:
        return all(process.poll() is None for process in self._processes)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        statuses = [process.wait(timeout=30) for process in self._processes]
        self._log.close()
        assert statuses == [0] * len(statuses), statuses


@asynccontextmanager
async def running_group(
    scheduler_address: str, name: str, folder: Path, *worker_flags: str
) -> AsyncIterator[httpx.AsyncClient]:
    """The group, ready, and a client of its gateway."""
    group = Group(scheduler_address, name, folder, worker_flags)
    try:
        async with httpx.AsyncClient(base_url=group.url, trust_env=False, timeout=60.0) as client:
            await _wait_until_ready(client, group.is_alive, lambda: group.log)
            yield client
    except BaseException:
        sys.stderr.write(group.log[-20_000:])
        raise
    finally:
        group.stop()


async def _wait_until_ready(client: httpx.AsyncClient, is_alive: Callable[[], bool], log: Callable[[], str]) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            assert is_alive(), log()
            try:
                if (await client.get("/ready")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
