"""What metrics and the span of a request cost, without sockets and other processes: the same answers, in turns.

Steadier than `benchmarks.watching` on a busy machine, and only a part of what a gateway does: read the microseconds,
not the ratio. The dispatcher delivers one token per turn of the loop, so every token is an event of its own.

    python -m benchmarks.watching_in_process [--rounds 30]
"""

import argparse
import asyncio
import gc
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine
from penstock.core.histogram import Histogram
from penstock.core.types import FinishReason
from penstock.gateway.api import app
from penstock.gateway.api.service import Service
from penstock.gateway.metrics import GatewayMetrics
from penstock.runtime.metrics import Numbers
from penstock.runtime.otlp import SpanExporter
from penstock.runtime.tracing import Tracer
from tests.gateway_fakes import Client, FakeDispatcher, chat, make_service

TEXT = "The quick brown fox jumps over the lazy dog, and the river runs down to the mill. " * 20
NUM_TOKENS = 64
ANSWERS_PER_TURN = 20
COUNTED = ((Histogram, "observe"), (Numbers, "add"), (Numbers, "set"), (GatewayMetrics, "observe_stages"))


def patches() -> tuple[Callable[[], None], Callable[[], None]]:
    """Functions that take the counting out and put it back."""
    patched: Any = app
    counting = [(owner, name, getattr(owner, name)) for owner, name in COUNTED]
    close_account = patched.close_account

    def nothing(*_: Any, **__: Any) -> None: ...

    def forget(service: Service, record: Any, _error: Any) -> None:
        service.requests.end(record, 0.0)

    def take_out() -> None:
        for owner, name, _ in counting:
            setattr(owner, name, nothing)
        patched.close_account = forget

    def put_back() -> None:
        for owner, name, function in counting:
            setattr(owner, name, function)
        patched.close_account = close_account

    return take_out, put_back


async def answer(service: Service, dispatcher: FakeDispatcher, exporter: SpanExporter) -> float:
    """CPU seconds per answer, its spans encoded too."""
    client, began_s = Client(service), time.thread_time()
    for _ in range(ANSWERS_PER_TURN):
        await client.post("/v1/chat/completions", chat(max_tokens=NUM_TOKENS, stream=True))
    exporter.flush()
    dispatcher.requests.clear()
    dispatcher.generations.clear()
    return (time.thread_time() - began_s) / ANSWERS_PER_TURN


async def measure(num_rounds: int) -> tuple[list[float], list[float]]:
    """Seconds per answer by turn, without and with."""
    dispatcher = FakeDispatcher(TEXT, finish=FinishReason.LENGTH)
    exporter = SpanExporter({"service.name": "benchmark"}, lambda _body: None, wall_offset_s=0.0)
    plain = make_service(dispatcher, now_s=time.monotonic)
    watched = make_service(dispatcher, now_s=time.monotonic, tracer=Tracer(exporter.put))
    take_out, put_back = patches()
    without: list[float] = []
    counted: list[float] = []
    gc.freeze()
    for _ in range(num_rounds):
        take_out()
        without.append(await answer(plain, dispatcher, exporter))
        put_back()
        counted.append(await answer(watched, dispatcher, exporter))
    return without[2:], counted[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    logging.disable(logging.INFO)
    without, counted = asyncio.run(measure(parser.parse_args().rounds))
    print(machine.describe())
    print(f"CPU of an answer of {NUM_TOKENS} tokens: {statistics.median(without) * 1e6:.0f} µs without")
    added = sorted(after - before for before, after in zip(without, counted, strict=True))
    quarter = len(added) // 4
    spread = f"middle half {added[quarter] * 1e6:.0f} to {added[-1 - quarter] * 1e6:.0f}"
    print(f"metrics and its span add {statistics.median(added) * 1e6:.0f} µs ({spread})")


if __name__ == "__main__":
    main()
