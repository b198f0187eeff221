"""A load client against a scripted server, both on loopback."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.live_run import LiveResult, LiveRun, Patience
from penstock_loadgen.prompts import PromptWriter
from penstock_loadgen.request_writer import RequestWriter
from penstock_loadgen.workload import WorkloadSpec, sessions
from tests.fake_openai_server import MODEL, TOKENS_PER_WORD, FakeServer, Script, serving

PATIENT = Patience()

Serve = Callable[..., Awaitable[FakeServer]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start scripted servers; all end with the test."""
    async with AsyncExitStack() as stack:

        async def start(*scripts: Script) -> FakeServer:
            return await stack.enter_async_context(serving(*scripts))

        yield start


def live_run(server: FakeServer, workload: WorkloadSpec, patience: Patience = PATIENT, **spec: Any) -> LiveRun:
    """A client of one process."""
    endpoint = EndpointSpec(f"http://127.0.0.1:{server.port}", model=MODEL, **spec)
    writer = RequestWriter(endpoint, PromptWriter(workload.seed, TOKENS_PER_WORD), workload)
    return LiveRun(endpoint.client(time.monotonic), writer, workload, patience, time.monotonic)


async def play(server: FakeServer, workload: WorkloadSpec, patience: Patience = PATIENT, **spec: Any) -> LiveResult:
    """The whole workload."""
    run = live_run(server, workload, patience, **spec)
    at_once = workload.arrivals.concurrency if workload.arrivals.is_closed else 0
    return await run.run(sessions(workload), time.monotonic(), at_once)
