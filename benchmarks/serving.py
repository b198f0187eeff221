"""What the gateway, the router and the control messages cost: the whole system with an engine that only sleeps.

Everything (gateway, router on Ray, one prefill, one decode worker and this client) shares the machine. Arrivals are
open loop: a request is sent when it is due, whether or not earlier ones have been answered.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from penstock.cli.ports import free_port
from penstock_loadgen.arrivals import ArrivalSpec
from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.experiment import Trial
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.live_run import Patience
from penstock_loadgen.targets import live_target
from penstock_loadgen.workload import WorkloadSpec

NUM_TOKENS = 64  # per answer
NUM_PROMPT_TOKENS = 20
MOCK_COSTS = "prefill_s=0.002,prefill_s_per_token=1e-5,decode_s=0.005"
ENGINE_TTFT_S = 0.0022  # of a prompt of some 20 tokens, by these costs
START_TIMEOUT_S = 180.0  # Ray takes its time on a loaded machine
WARM_UP_S = 3.0


@asynccontextmanager
async def system(*flags: str) -> AsyncIterator[int]:
    """`penstock up` on a free port; yields the port."""
    port = free_port()
    command = [sys.executable, "-m", "penstock.cli.main", "up", f"--port={port}"]
    process = await asyncio.create_subprocess_exec(
        *command, *flags, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while b"Ctrl-C stops it" not in (line := await process.stdout.readline()):
                if not line:
                    raise RuntimeError(f"the system did not start:\n{(await errors).decode()}")
        yield port
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
        errors.cancel()


def workload(rate: float, duration_s: float) -> WorkloadSpec:
    """Poisson arrivals at `rate`, after a warm-up at the same rate."""
    return WorkloadSpec(
        num_requests=0,
        duration_s=WARM_UP_S + duration_s,
        warm_up_s=WARM_UP_S,
        arrivals=ArrivalSpec(rate=rate),
        lengths=LengthSpec("fixed", NUM_PROMPT_TOKENS, NUM_TOKENS),
    )


def drive(port: int, rate: float, duration_s: float) -> Trial:
    """One rate, measured by one load process."""
    target = live_target(EndpointSpec(f"http://127.0.0.1:{port}", api="completions"), Patience())
    asked = workload(rate, duration_s)
    return Trial.of(asked, target.run(asked, lambda now_s, reading: None))


async def run(rates: list[float], duration_s: float) -> list[Trial]:
    async with system("--engine=mock", f"--mock-costs={MOCK_COSTS}") as port:
        return [await asyncio.to_thread(drive, port, rate, duration_s) for rate in rates]


def table(trials: list[Trial]) -> str:
    """The trials as text."""
    head = "   req/s    done/s   tokens/s   TTFT p50    p99   ITL p50    p99   failed  client late"
    return "\n".join([head, *map(_line, trials)])


def _line(trial: Trial) -> str:
    summary = trial.repeat.summary
    ttft, itl = summary.latencies["ttft_s"], summary.latencies["itl_s"]
    if ttft is None or itl is None:
        return f"{trial.repeat.rate:8.0f}  nothing finished"
    return (
        f"{trial.repeat.rate:8.0f}  {summary.requests_per_s:8.1f}  {summary.output_tokens_per_s:9.0f}   "
        f"{ttft.p50 * 1e3:5.1f} ms {ttft.p99 * 1e3:6.1f}  {itl.p50 * 1e3:5.1f} ms {itl.p99 * 1e3:6.1f}   "
        f"{summary.num_failed:4d}  {trial.repeat.validity.lateness_p99_s * 1e3:6.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[20, 100, 200, 300, 400])
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    print(table(uvloop.run(run(options.rates, options.seconds))))
    print(f"TTFT includes {ENGINE_TTFT_S * 1e3:.1f} ms of the engine's own, ITL 5 ms; {NUM_TOKENS} tokens an answer")


if __name__ == "__main__":
    main()
