"""The scheduler process on a real, local Ray: one start, shared by these tests in their order."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from penstock.cli.ports import free_port
from penstock.core.errors import PenstockError
from penstock.core.types import Role, RouteQuery, WorkerRef, WorkerState
from penstock.runtime import clock, rpc
from penstock.runtime.channel import Channels
from penstock.wire import stubs
from penstock.wire.messages import (
    HeartbeatRequest,
    Hello,
    JoinRequest,
    RegisterRequest,
    RouteAnswer,
    RouteCalls,
    RouteEvents,
)

pytestmark = pytest.mark.timeout(180)
Answer = TypeVar("Answer")
START_S = 60.0  # a busy two-core machine; it takes 4 s on an idle one
WORKERS = ("p0", Role.PREFILL), ("d0", Role.DECODE)


class Scheduler:
    """One scheduler process at a time, always on the same ports."""

    def __init__(self) -> None:
        self.port, self.router_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes]

    @property
    def directory(self) -> Path:
        return Path(tempfile.gettempdir()) / f"penstock-ray-{self.process.pid}"

    def start(self) -> None:
        code = "import sys; from penstock.cli.scheduler import main; sys.exit(main(sys.argv[1:]))"
        flags = [f"--address=127.0.0.1:{self.port}", f"--router-base-port={self.router_port}"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *flags, "--heartbeat-interval-s=0.2", "--lease-s=2"], start_new_session=True
        )

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def actor(self, name: str) -> psutil.Process:
        """The process of one of its actors; Ray names it so."""
        (found,) = [p for p in self.descendants() if name in " ".join(p.cmdline())]
        return found

    def stop(self, number: signal.Signals, timeout_s: float = 20.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler()
    made.start()
    yield made
    if made.process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            made.stop(signal.SIGTERM)
    made.process.kill()
    made.process.wait()


class Client:
    """Plays workers and a gateway."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.channels = Channels()
        self.scheduler = self.channels.get(f"127.0.0.1:{scheduler.port}")
        self.router = self.channels.get(f"127.0.0.1:{scheduler.router_port}")

    async def register(self) -> str:
        """Register all workers, as often as it takes; the router's address."""
        method = stubs.membership_register(self.scheduler)
        address = ""
        for name, role in WORKERS:
            register = partial(rpc.call, method, RegisterRequest(state(name, role)), timeout_s=5)
            address = (await insist(register)).router_address
        return address

    async def belong(self) -> None:
        """Register until heartbeats are known: what dies slowly may still have taken the first registration."""
        async with asyncio.timeout(START_S):
            while not all(await insist(self.heartbeat)):
                await self.register()

    async def heartbeat(self) -> list[bool]:
        method = stubs.router_heartbeat(self.router)
        calls = (rpc.call(method, HeartbeatRequest(state(name, role)), timeout_s=5) for name, role in WORKERS)
        return [response.is_known for response in await asyncio.gather(*calls)]

    async def route(self) -> tuple[RouteEvents, RouteAnswer]:
        """Open a stream, take the first membership, ask one question."""
        call = stubs.router_route(self.router, clock.now_s)(None, timeout=10)
        await call.write(RouteCalls(Hello("gateway-0", 1, 0), [RouteQuery("r-0", 100, 10)]))
        membership, answer = None, None
        async for events in call:
            membership = membership or (events if events.membership else None)
            answer = answer or next(iter(events.answers), None)
            if membership and answer:
                await call.done_writing()
                return membership, answer
        raise AssertionError("the stream ended early")


def state(name: str, role: Role) -> WorkerState:
    ref = WorkerRef(name, 7, f"127.0.0.1:{1 if role is Role.PREFILL else 2}")
    return replace(WorkerState(ref=ref, role=role, num_blocks=100, num_free_blocks=100), revision="r")


async def insist(call: Callable[[], Awaitable[Answer]], timeout_s: float = START_S) -> Answer:
    """Repeat until it succeeds, as workers do."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return await call()
            except PenstockError:
                await asyncio.sleep(0.1)


def wait_until(is_done: Callable[[], bool], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_done():
        assert time.monotonic() < deadline_s, "took too long"
        time.sleep(0.05)


@pytest.fixture
async def client(scheduler: Scheduler) -> AsyncIterator[Client]:
    made = Client(scheduler)
    yield made
    await made.channels.close()


async def test_workers_register_and_gateways_are_routed(scheduler: Scheduler, client: Client) -> None:
    assert await client.register() == f"127.0.0.1:{scheduler.router_port}"
    joined = await rpc.call(stubs.membership_join(client.scheduler), JoinRequest("gateway-0"), timeout_s=5)
    assert list(joined.router_addresses) == [("default", f"127.0.0.1:{scheduler.router_port}")]
    assert await client.heartbeat() == [True, True]
    events, answer = await client.route()
    assert events.membership is not None
    assert {worker.ref.worker_id for worker in events.membership.workers} == {"p0", "d0"}
    assert answer.decision is not None
    assert answer.decision.prefill[0].ref == state(*WORKERS[0]).ref
    assert answer.decision.decode[0].ref == state(*WORKERS[1]).ref


async def test_a_worker_of_a_new_group_brings_up_a_router(scheduler: Scheduler, client: Client) -> None:
    await client.register()
    request = RegisterRequest(replace(state("p9", Role.PREFILL), group="other"))
    response = await rpc.call(stubs.membership_register(client.scheduler), request, timeout_s=20)
    assert response.router_address == f"127.0.0.1:{scheduler.router_port + 1}"


async def test_a_killed_router_comes_back_at_its_address_and_asks_workers_to_register(
    scheduler: Scheduler, client: Client
) -> None:
    await client.register()
    (killed, *_) = [p for p in scheduler.descendants() if listens_at(p, scheduler.router_port)]
    killed.kill()
    killed.wait(5)
    assert await insist(client.heartbeat) == [False, False]
    assert await client.register() == f"127.0.0.1:{scheduler.router_port}"
    assert await client.heartbeat() == [True, True]
    _, answer = await client.route()
    assert answer.decision is not None


async def test_routers_outlive_the_global_scheduler_which_finds_them_again(
    scheduler: Scheduler, client: Client
) -> None:
    await client.register()
    killed = scheduler.actor("GlobalScheduler")
    killed.kill()
    killed.wait(5)
    assert await client.heartbeat() == [True, True]
    assert (await client.route())[1].decision is not None
    joined = await insist(
        lambda: rpc.call(stubs.membership_join(client.scheduler), JoinRequest("gateway-0"), timeout_s=5)
    )
    assert dict(joined.router_addresses)["default"] == f"127.0.0.1:{scheduler.router_port}"
    assert await client.heartbeat() == [True, True]


async def test_a_killed_scheduler_process_restarts_at_once_on_the_same_ports(
    scheduler: Scheduler, client: Client
) -> None:
    descendants, directory = scheduler.descendants(), scheduler.directory
    scheduler.stop(signal.SIGKILL)
    scheduler.start()
    wait_until(lambda: not any(is_alive(process) for process in descendants), timeout_s=10)
    await client.belong()
    assert (await client.route())[1].decision is not None
    assert not directory.exists()


async def test_a_clean_shutdown_leaves_nothing(scheduler: Scheduler, client: Client) -> None:
    await client.register()
    descendants, directory = scheduler.descendants(), scheduler.directory
    assert directory.exists()
    assert scheduler.stop(signal.SIGTERM) == 0
    wait_until(lambda: not any(is_alive(process) for process in descendants), timeout_s=5)
    assert not directory.exists()
    assert not [entry for entry in os.listdir("/dev/shm") if "plasma" in entry or "ray" in entry]


def listens_at(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections("tcp"))
    return False


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
