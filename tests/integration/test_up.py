"""`penstock up`: comes up, serves, shows itself, and goes without a trace."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from penstock.cli.ports import free_port
from penstock.runtime.lifecycle import EXIT_UNUSABLE

PENSTOCK = (sys.executable, "-m", "penstock.cli.main")
START_TIMEOUT_S = 90.0


class Up:
    """A `penstock up --engine mock`, in a session of its own as in a terminal."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.log = folder / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*PENSTOCK, "up", "--engine=mock", f"--port={port}", *flags],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_announced(self) -> None:
        self.wait_until_log_says("Ctrl-C stops it.")

    def wait_until_log_says(self, words: str) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while words not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline_s, self.log.read_text()
            time.sleep(0.1)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        """Signal, as Ctrl-C does the whole process group; nothing that ran, Ray's helpers included, may run any more.

        `up` adopts orphans, so what its children started and left is still found below it.
        """
        before = self.descendants()
        assert any(process.name() == "raylet" for process in before)
        os.killpg(self.process.pid, number)
        status = self.process.wait(timeout=30)
        _, alive = psutil.wait_procs(before, timeout=0.5)
        assert not alive, self.log.read_text()
        folders = [folder.name for folder in Path(tempfile.gettempdir()).glob("penstock-ray-*")]
        sessions = [name for name in folders for process in before if name.endswith(f"-{process.pid}")]
        assert not sessions
        return status

    def penstock(self, *arguments: str) -> str:
        """Run another command against it."""
        finished = subprocess.run(
            [*PENSTOCK, *arguments, f"--url={self.url}"], capture_output=True, check=False, text=True, timeout=60
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


def shared_memory() -> set[Path]:
    return set(Path("/dev/shm").iterdir())


def curl_line(log: str) -> list[str]:
    """The announced curl line, as a shell would take it apart."""
    (line,) = [line for line in log.splitlines() if line.strip().startswith("curl ")]
    out = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
    return out.splitlines()


@pytest.mark.timeout(180)
def test_serves_shows_itself_and_ends_without_a_trace(tmp_path: Path) -> None:
    before = shared_memory()
    up = Up(tmp_path)
    try:
        up.wait_until_announced()
        _, url, _, _, _, body = curl_line(up.log.read_text())
        answer = httpx.post(
            url, content=body, headers={"Content-Type": "application/json"}, timeout=30, trust_env=False
        )
        assert answer.json()["choices"][0]["message"]["content"]
        assert up.penstock("chat", "Hello", "--max-tokens=4").strip()
        shown = json.loads(up.penstock("status", "--json"))
        roles = sorted(worker["role"] for group in shown["groups"] for worker in group["workers"])
        assert roles == ["decode", "prefill"]
        assert "prefill-0" in up.penstock("status")
        assert up.end(signal.SIGINT) == 0
        assert shared_memory() <= before
    finally:
        up.process.kill()


@pytest.mark.timeout(180)
def test_restarts_what_is_killed_and_drains_what_is_asked_to_go(tmp_path: Path) -> None:
    before = shared_memory()
    up = Up(tmp_path, "--mixed=2")
    try:
        up.wait_until_announced()
        asyncio.run(_kill_and_drain(up))
        assert up.end(signal.SIGTERM) == 0
        assert shared_memory() <= before
    finally:
        up.process.kill()


async def _kill_and_drain(up: Up) -> None:
    first = await _incarnations(up, lambda found: len(found) == 2)
    for process in up.descendants():
        if "--worker-id=mixed-0" in process.cmdline():
            process.kill()
    second = await _incarnations(up, lambda found: found.get("mixed-0", first["mixed-0"]) != first["mixed-0"])
    assert second["mixed-1"] == first["mixed-1"]
    assert "mixed-1 is draining" in await asyncio.to_thread(up.penstock, "drain", "mixed-1")
    await _incarnations(up, lambda found: set(found) == {"mixed-0"})


async def _incarnations(up: Up, is_wanted: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(30):
        while True:
            cluster = (await client.get(f"{up.url}/cluster")).json()
            found = {it["worker_id"]: it["incarnation"] for group in cluster["groups"] for it in group["workers"]}
            if is_wanted(found):
                return found
            await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    up = Up(tmp_path)
    up.wait_until_announced()
    before = up.descendants()
    up.process.kill()
    up.process.wait(timeout=10)
    _, alive = psutil.wait_procs(before, timeout=15)
    assert not alive


@pytest.mark.timeout(180)
def test_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    up = Up(tmp_path)
    up.wait_until_log_says("listening on")
    before = up.descendants()
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.process.wait(timeout=30) == 0
    _, alive = psutil.wait_procs(before, timeout=0.5)
    assert not alive


def test_a_taken_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        finished = subprocess.run(
            [*PENSTOCK, "up", f"--port={port}"], capture_output=True, check=False, text=True, timeout=30
        )
    reason = "it is in use; stop what listens there or choose another --port."
    assert (finished.returncode, finished.stderr) == (EXIT_UNUSABLE, f"Bad setting port={port}: {reason}\n")
