"""What metrics and traces cost a gateway: two gateways of one mock system take turns under the same load.

One counts and exports a trace of every request; the other does neither (its metrics are patched away: no setting does
that). CPU seconds are each gateway process's own, so what else the machine does cancels out; the reciprocal of CPU per
request is the throughput that a core allows.

    python -m benchmarks.watching [--rate 100] [--rounds 24] [--turn-s 1]
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import uvloop

from benchmarks import machine
from benchmarks.serving import MOCK_COSTS, NUM_TOKENS
from benchmarks.watching_in_process import patches
from penstock.cli import gateway
from penstock.cli.ports import free_port
from penstock.runtime import clock
from penstock_loadgen.exchange import Exchange
from penstock_loadgen.http_client import StreamingClient
from tests.integration.collector import running_collector

PENSTOCK = (sys.executable, "-m", "penstock.cli.main")
START_TIMEOUT_S = 60.0
PROMPT = "Tell me about the river and the mill. "
PLAIN = "--serve-plain"  # this program is the gateway without metrics, too


@dataclass(frozen=True)
class Load:
    """Of each gateway, in turns."""

    rate: float  # requests/s
    num_rounds: int
    turn_s: float


def serve_plain(argv: list[str]) -> int:
    """A gateway that counts nothing and gives no account of a request."""
    take_out, _ = patches()
    take_out()
    return gateway.main(argv)


@contextmanager
def processes(collector_url: str) -> Iterator[tuple[dict[str, int], dict[str, psutil.Process]]]:
    """Scheduler, two workers, both gateways: their ports and processes."""
    scheduler_address = f"127.0.0.1:{free_port()}"
    ports = {name: free_port() for name in ("plain", "watched")}
    shared = (f"--scheduler-address={scheduler_address}", "--log-level=warning")
    worker = (*PENSTOCK, "worker", "--engine=mock", f"--mock-costs={MOCK_COSTS}", *shared)
    commands = {
        "scheduler": (*PENSTOCK, "scheduler", f"--address={scheduler_address}", "--log-level=warning"),
        **{role: (*worker, f"--worker-id={role}-0", f"--role={role}") for role in ("prefill", "decode")},
        "plain": (sys.executable, "-m", "benchmarks.watching", PLAIN, *shared, f"--port={ports['plain']}"),
        "watched": (*PENSTOCK, "gateway", *shared, f"--port={ports['watched']}"),
    }
    traced = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url}
    started = {
        name: subprocess.Popen(command, env=traced if name == "watched" else None) for name, command in commands.items()
    }
    try:
        yield ports, {name: psutil.Process(process.pid) for name, process in started.items()}
    finally:
        for process in reversed(started.values()):
            process.terminate()
            process.wait(timeout=30)


async def turn(port: int, process: psutil.Process, load: Load, seed: int) -> float:
    """CPU seconds of the gateway per request, over one turn of open-loop load."""
    arrivals = random.Random(seed)
    client = StreamingClient("127.0.0.1", port, clock.now_s)
    before_s = _cpu_s(process.pid)
    end_s = clock.now_s() + load.turn_s
    async with asyncio.TaskGroup() as requests:
        tasks: list[asyncio.Task[Exchange]] = []
        while clock.now_s() < end_s:
            tasks.append(requests.create_task(client.post("/v1/completions", body(len(tasks)))))
            await asyncio.sleep(arrivals.expovariate(load.rate))
    client.close()
    assert all(task.result().is_success for task in tasks), "a request failed: the load is too high"
    return (_cpu_s(process.pid) - before_s) / len(tasks)


def _cpu_s(pid: int) -> float:
    """CPU time of all threads, to the nanosecond: the usual counters have ticks of 10 ms."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


def body(number: int) -> bytes:
    """Never the same prompt twice: nothing is cached."""
    asked = {"model": "penstock-tiny", "prompt": f"{number} {PROMPT}", "max_tokens": NUM_TOKENS, "ignore_eos": True}
    return json.dumps({**asked, "temperature": 0, "stream": True}).encode()


async def measure(load: Load) -> dict[str, list[float]]:
    """CPU per request by gateway, in turns."""
    with running_collector() as collector, processes(collector.url) as (ports, running):
        await asyncio.to_thread(_wait_until_ready, ports)
        costs: dict[str, list[float]] = {"plain": [], "watched": []}
        for number in range(-1, load.num_rounds):  # the first warms up
            for name in sorted(ports, reverse=number % 2 == 0):
                cost = await turn(ports[name], running[name], load, number)
                if number >= 0:
                    costs[name].append(cost)
        print(f"{len(collector.spans)} spans were collected")
        return costs


def _wait_until_ready(ports: dict[str, int]) -> None:
    end_s = clock.now_s() + START_TIMEOUT_S
    waiting = set(ports.values())
    while waiting:
        assert clock.now_s() < end_s, "a gateway did not find its workers"
        time.sleep(0.2)
        waiting = {port for port in waiting if not _is_ready(port)}


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--turn-s", type=float, default=1.0)
    options = parser.parse_args()
    load = Load(options.rate, options.rounds, options.turn_s)
    costs = uvloop.run(measure(load))
    plain, watched = (sum(costs[name]) / load.num_rounds for name in ("plain", "watched"))
    ratios = sorted(after / before for before, after in zip(costs["plain"], costs["watched"], strict=True))
    quarter = len(ratios) // 4
    print(machine.describe())
    print(f"{load.rate:.0f} requests/s of {NUM_TOKENS} tokens, {load.num_rounds} turns of {load.turn_s:g} s each")
    print(f"CPU per request: {plain * 1e3:.3f} ms without, {watched * 1e3:.3f} ms with metrics and a trace of each")
    print(
        f"throughput per core: {plain / watched - 1:+.1%} of the sums, {1 / statistics.median(ratios) - 1:+.1%} median"
    )
    print(f"middle half of the turns: {1 / ratios[-1 - quarter] - 1:+.1%} to {1 / ratios[quarter] - 1:+.1%}")


if __name__ == "__main__":
    if PLAIN in sys.argv:
        sys.exit(serve_plain([argument for argument in sys.argv[1:] if argument != PLAIN]))
    main()
