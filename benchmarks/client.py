"""How many streamed tokens a second one load process reads without falling behind.

    python -m benchmarks.client [--rates 5000 10000 20000 ...] [--seconds 8]

A scripted server in a process of its own streams answers of 128 tokens, one event each, a token every 20 ms. The load
process is pinned to one core and the server to another, where there are two; a rate counts as driven when the run is
valid. CPU is the load process's own, kernel included. On a machine with other work, `chrt -f 5 python -m ...` gives
both processes their cores when they want them.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop

from benchmarks import machine
from penstock_loadgen.arrivals import ArrivalSpec
from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.live_run import LiveRun, Patience
from penstock_loadgen.processes import raise_file_limit
from penstock_loadgen.prompts import PromptWriter
from penstock_loadgen.request_writer import RequestWriter
from penstock_loadgen.summary import summarize_run
from penstock_loadgen.validity import Validity, judge
from penstock_loadgen.workload import WorkloadSpec, sessions
from tests import fake_openai_server

NUM_TOKENS = 128
SCRIPT = fake_openai_server.Script(first_s=0.05, gap_s=0.02)
WARM_UP_S = 3.0


@dataclass(frozen=True)
class ClientRow:
    """One offered rate, measured."""

    offered: float  # tokens/s
    read: float  # tokens/s, while the load was steady
    cpu: float  # cores
    validity: Validity
    tpot_p50_s: float


def pin(core: int) -> None:
    """Give this process one core, if there are several."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def serve(ready: "multiprocessing.connection.Connection") -> None:
    """The server's process."""
    pin(1)

    async def run() -> None:
        async with fake_openai_server.serving(SCRIPT, keeps=False) as server:
            ready.send(server.port)
            await asyncio.Event().wait()

    uvloop.run(run())


@asynccontextmanager
async def scripted_server() -> AsyncIterator[int]:
    """Yields its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield await asyncio.to_thread(ours.recv)
    finally:
        process.kill()
        process.join()


async def drive(port: int, offered: float, seconds: float) -> ClientRow:
    """Poisson arrivals that ask for `offered` tokens/s."""
    workload = WorkloadSpec(
        num_requests=0,
        duration_s=WARM_UP_S + seconds,
        warm_up_s=WARM_UP_S,
        arrivals=ArrivalSpec(rate=offered / NUM_TOKENS),
        lengths=LengthSpec("fixed", 64, NUM_TOKENS),
    )
    endpoint = EndpointSpec(f"http://127.0.0.1:{port}", model=fake_openai_server.MODEL)
    writer = RequestWriter(endpoint, PromptWriter(0, fake_openai_server.TOKENS_PER_WORD), workload)
    run = LiveRun(endpoint.client(time.monotonic), writer, workload, Patience(), time.monotonic)
    start_s = time.monotonic()
    playing = asyncio.create_task(run.run(sessions(workload), start_s))
    await asyncio.sleep(WARM_UP_S)
    before = _cpu_s(), run.meter.read(0.0).num_tokens, time.monotonic()
    await asyncio.sleep(seconds)
    after = _cpu_s(), run.meter.read(0.0).num_tokens, time.monotonic()
    result = await playing
    cpu_s, num_tokens, took_s = (late - early for early, late in zip(before, after, strict=True))
    tpot = summarize_run(result.records).latencies["tpot_s"]
    validity = judge(result.records, result.lags_s)
    return ClientRow(offered, num_tokens / took_s, cpu_s / took_s, validity, tpot.p50 if tpot else float("nan"))


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def run(rates: list[float], seconds: float) -> None:
    print(machine.describe())
    print("offered/s    read/s    CPU   us/token   late p99   lag p99    TPOT p50   valid")
    async with scripted_server() as port:
        pin(0)
        for rate in rates:
            row = await drive(port, rate, seconds)
            print(line(row), flush=True)


def line(row: ClientRow) -> str:
    """A row as text."""
    late_ms, lag_ms = row.validity.lateness_p99_s * 1e3, row.validity.lag_p99_s * 1e3
    return (
        f"{row.offered:9,.0f}  {row.read:8,.0f}   {row.cpu:4.2f}   {row.cpu / max(1.0, row.read) * 1e6:8.1f}   "
        f"{late_ms:5.1f} ms  {lag_ms:5.1f} ms   {row.tpot_p50_s * 1e3:6.2f} ms   "
        f"{'yes' if row.validity.is_valid else 'NO'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[5e3, 10e3, 20e3, 25e3, 30e3, 40e3, 50e3])
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    raise_file_limit()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run(given.rates, given.seconds))


if __name__ == "__main__":
    main()
