"""What the gateway, the router and the control messages cost: the whole system with an engine that only sleeps.

Everything (gateway, router on Ray, one prefill, one decode worker and this client) shares the machine. Arrivals are
open loop: a request is sent when it is due, whether or not earlier ones have been answered.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop

from penstock.cli.ports import free_port
from penstock.runtime import clock
from penstock_loadgen.http_client import Exchange, StreamingClient

NUM_TOKENS = 64  # per answer
PROMPT = "Tell me about the river and the mill. "
MOCK_COSTS = "prefill_s=0.002,prefill_s_per_token=1e-5,decode_s=0.005"
ENGINE_TTFT_S = 0.0022  # of a prompt of some 20 tokens, by these costs
START_TIMEOUT_S = 180.0  # Ray takes its time on a loaded machine
WARM_UP_S = 3.0


@dataclass(frozen=True)
class ServingRow:
    """One rate, measured."""

    rate: float  # requests/s asked for
    num_sent: int
    num_failed: int
    completed_per_s: float
    tokens_per_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    itl_p50_s: float
    itl_p99_s: float
    max_lateness_s: float  # of the client itself; a late client is no open loop


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


async def drive(port: int, rate: float, duration_s: float, seed: int = 0) -> ServingRow:
    """Poisson arrivals at `rate` for `duration_s`, after a warm-up at the same rate."""
    arrivals = random.Random(seed)
    client = StreamingClient("127.0.0.1", port, clock.now_s)
    sent: list[tuple[float, Exchange]] = []
    max_lateness_s = 0.0

    async def send(due_s: float, number: int, is_counted: bool) -> None:
        exchange = await client.post("/v1/completions", body(number))
        if is_counted:
            sent.append((due_s, exchange))

    began_s = clock.now_s()
    due_s = began_s
    async with asyncio.TaskGroup() as requests:
        number = 0
        while (due_s := due_s + arrivals.expovariate(rate)) < began_s + WARM_UP_S + duration_s:
            if (wait_s := due_s - clock.now_s()) > 0:
                await asyncio.sleep(wait_s)
            is_counted = due_s > began_s + WARM_UP_S
            if is_counted:
                max_lateness_s = max(max_lateness_s, clock.now_s() - due_s)
            requests.create_task(send(due_s, number, is_counted))
            number += 1
    client.close()
    return _row(rate, duration_s, sent, max_lateness_s)


def body(number: int) -> bytes:
    return json.dumps(
        {
            "model": "penstock-tiny",
            "prompt": f"{number} {PROMPT}",
            "max_tokens": NUM_TOKENS,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
        }
    ).encode()


def _row(rate: float, duration_s: float, sent: list[tuple[float, Exchange]], max_lateness_s: float) -> ServingRow:
    whole = [(due_s, exchange) for due_s, exchange in sent if exchange.is_success and exchange.event_times_s]
    ttfts = sorted(exchange.event_times_s[0] - due_s for due_s, exchange in whole)
    gaps = sorted(
        later - earlier
        for _, exchange in whole
        for earlier, later in zip(exchange.event_times_s, exchange.event_times_s[1:], strict=False)
    )
    # over the time until the last answer, so that a backlog shows
    last_s = max((exchange.event_times_s[-1] for _, exchange in whole), default=0.0)
    first_s = min((due_s for due_s, _ in sent), default=0.0)
    span_s = max(duration_s, last_s - first_s)
    return ServingRow(
        rate=rate,
        num_sent=len(sent),
        num_failed=len(sent) - len(whole),
        completed_per_s=len(whole) / span_s,
        tokens_per_s=len(whole) * NUM_TOKENS / span_s,
        ttft_p50_s=_percentile(ttfts, 0.5),
        ttft_p99_s=_percentile(ttfts, 0.99),
        itl_p50_s=_percentile(gaps, 0.5),
        itl_p99_s=_percentile(gaps, 0.99),
        max_lateness_s=max_lateness_s,
    )


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def run(rates: list[float], duration_s: float) -> list[ServingRow]:
    async with system("--engine=mock", f"--mock-costs={MOCK_COSTS}") as port:
        return [await drive(port, rate, duration_s) for rate in rates]


def table(rows: list[ServingRow]) -> str:
    """The rows as text."""
    head = "   req/s    done/s   tokens/s   TTFT p50    p99   ITL p50    p99   failed  client late"
    return "\n".join([head, *map(_line, rows)])


def _line(row: ServingRow) -> str:
    return (
        f"{row.rate:8.0f}  {row.completed_per_s:8.1f}  {row.tokens_per_s:9.0f}   "
        f"{row.ttft_p50_s * 1e3:5.1f} ms {row.ttft_p99_s * 1e3:6.1f}  {row.itl_p50_s * 1e3:5.1f} ms "
        f"{row.itl_p99_s * 1e3:6.1f}   {row.num_failed:4d}  {row.max_lateness_s * 1e3:6.1f} ms"
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
