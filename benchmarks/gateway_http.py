"""What the HTTP side of the gateway costs: answers from a dispatcher without workers, to clients in another process.

    python -m benchmarks.gateway_http [--streams 96] [--tokens 64] [--seconds 5]

The dispatcher makes a step as soon as the last one has been written, so the gateway's core is the limit. CPU seconds
are the server process's own, kernel included; tokens/s per core is their inverse, whatever else the machine does.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import resource
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
import uvloop

from benchmarks import machine
from penstock.core.types import FinishReason, Request, SampledToken
from penstock.gateway.api.app import App
from penstock.gateway.api.service import Service
from penstock.gateway.generation import Generation
from penstock.gateway.process import serve_http
from penstock.runtime import clock
from penstock.wire.messages import MembershipView
from tests.gateway_fakes import MODEL, chat, make_service, tokens_of

TEXT = "The quick brown fox jumps over the lazy dog, and the river runs down to the mill. "


@dataclass
class SteppingDispatcher:
    """One token for every live sequence per step, like a decode worker; a step at most every `step_s`."""

    step_s: float
    tokens: Sequence[SampledToken] = field(default_factory=lambda: tokens_of(TEXT * 20))
    num_tokens: int = 0
    num_answers: int = 0
    num_waiting: int = 0
    has_answered: asyncio.Event = field(default_factory=asyncio.Event)
    _live: dict[str, tuple[Generation, int]] = field(default_factory=dict)

    @property
    def num_requests(self) -> int:
        return len(self._live)

    def generate(self, request: Request) -> Generation:
        generation = Generation(request.request_id, lambda: self._live.pop(request.request_id, None) and None)
        self._live[request.request_id] = generation, request.sampling.max_tokens
        return generation

    async def run(self) -> None:
        while True:
            for request_id, (generation, max_tokens) in list(self._live.items()):
                at = len(generation.output_token_ids)
                generation.deliver(at, self.tokens[at])
                self.num_tokens += 1
                if at + 1 == max_tokens:
                    generation.finish(FinishReason.LENGTH)
                    self.num_answers += 1
                    self.has_answered.set()
                    del self._live[request_id]
            if self.step_s:
                await asyncio.sleep(self.step_s)
            else:
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    def membership(self) -> Sequence[MembershipView]:
        return ()


async def _client(port: int, num_tokens: int, seconds: float) -> None:
    """One connection, one request after another, read as bytes."""
    body = orjson.dumps(chat(stream=True, max_tokens=num_tokens, temperature=0.7))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        writer.write(head + body)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the server may stop first
            await reader.readuntil(b"[DONE]\n\n\r\n0\r\n\r\n")
    writer.close()


async def _clients(port: int, num_streams: int, num_tokens: int, seconds: float) -> None:
    await asyncio.gather(*(_client(port, num_tokens, seconds) for _ in range(num_streams)))


def _run_clients(port: int, num_streams: int, num_tokens: int, seconds: float) -> None:
    uvloop.run(_clients(port, num_streams, num_tokens, seconds))


async def _measure(num_streams: int, num_tokens: int, seconds: float, step_s: float) -> None:
    dispatcher = SteppingDispatcher(step_s)
    service = make_service(dispatcher, now_s=clock.now_s, wall_s=clock.wall_s)  # type: ignore[arg-type]
    listener = socket.create_server(("127.0.0.1", 0))
    stop = asyncio.Event()
    server = asyncio.create_task(serve_http(App(service), listener, stop, 1.0))
    steps = asyncio.create_task(dispatcher.run())
    arguments = (listener.getsockname()[1], num_streams, num_tokens, seconds + 2)
    process = multiprocessing.get_context("spawn").Process(target=_run_clients, args=arguments)
    process.start()
    await dispatcher.has_answered.wait()
    await asyncio.sleep(0.5)
    before, began_s = _counts(dispatcher, service), time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - began_s
    counts = [after - first for after, first in zip(_counts(dispatcher, service), before, strict=True)]
    await asyncio.to_thread(process.join)
    stop.set()
    steps.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await steps
    await server
    print(machine.describe())
    print(f"{num_streams} streams of {num_tokens} tokens of model {MODEL}, a step at most every {step_s * 1e3:g} ms")
    _report(counts, took_s)


def _counts(dispatcher: SteppingDispatcher, service: Service) -> tuple[float, ...]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    metrics = service.metrics
    num_events = metrics.inter_token_latency_s.count + metrics.time_to_first_token_s.count
    return usage.ru_utime, usage.ru_stime, dispatcher.num_tokens, num_events, dispatcher.num_answers


def _report(counts: Sequence[float], took_s: float) -> None:
    user_s, system_s, num_tokens, num_events, num_answers = counts
    cpu_s = user_s + system_s
    print(f"answers/s {num_answers / took_s:.0f}, tokens/s {num_tokens / took_s:.0f}, CPU in use {cpu_s / took_s:.2f}")
    print(f"tokens per event {num_tokens / num_events:.2f}")
    print(f"CPU per event {user_s / num_events * 1e6:.1f} µs user + {system_s / num_events * 1e6:.1f} µs system")
    print(f"per core {num_events / cpu_s:.0f} events/s, {num_answers / cpu_s:.0f} answers/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--step-s", type=float, default=0.0)
    arguments = parser.parse_args()
    uvloop.run(_measure(arguments.streams, arguments.tokens, arguments.seconds, arguments.step_s))


if __name__ == "__main__":
    main()
