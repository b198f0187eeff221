"""Orders over loopback: from the CLI's call through a router's service to whoever starts workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from penstock.cli import flip, orders, roles, rollout, scale
from penstock.cli.local_pools import LocalPools
from penstock.cli.orders import EXIT_REFUSED, give
from penstock.cli.stack import ProcessSpec
from penstock.core.errors import ChangeRefused, WorkerLost
from penstock.core.policies.pool_changes import PoolChange
from penstock.core.pools import Steering
from penstock.core.types import Role, WorkerRef, WorkerState
from penstock.runtime import clock
from penstock.runtime.server import RpcServer
from penstock.runtime.settings import SchedulerSettings, WorkerSettings
from penstock.scheduler.capacity import Capacity
from penstock.scheduler.router import Router
from penstock.wire import control_stubs
from penstock.wire.control_messages import (
    FlipOrderRequest,
    FlipRequest,
    FlipResponse,
    RolloutRequest,
    ScaleRequest,
    SteerRequest,
    SteerResponse,
)


class FakeSupervisor:
    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.added: list[str] = []
        self.removed: list[str] = []

    def add(self, spec: ProcessSpec) -> None:
        self.names.append(spec.name)
        self.added.append(f"{spec.name} {next(flag for flag in spec.command if flag.startswith('--role'))}")

    def remove(self, name: str, when_ended: Any = lambda: None) -> None:
        self.names.remove(name)
        self.removed.append(name)
        when_ended()


class Worker:
    """A worker that can be flipped, and nothing else."""

    def __init__(self) -> None:
        self.role = Role.DECODE

    async def flip(self, request: FlipRequest, _context: Any) -> FlipResponse:
        previous, self.role = self.role, request.role
        return FlipResponse(previous, 5)

    async def nothing(self, _request: Any, _context: Any) -> Any:
        raise AssertionError


@asynccontextmanager
async def served(register: Any) -> AsyncIterator[str]:
    server = RpcServer()
    server.add(register)
    address = await server.start("127.0.0.1:0")
    try:
        yield address
    finally:
        await server.stop(0)


class System:
    """A machine's pools, a router, one worker that answers."""

    def __init__(self, supervisor: FakeSupervisor, worker: Worker, capacity: Capacity, address: str) -> None:
        self.supervisor, self.worker, self.capacity = supervisor, worker, capacity
        self.group = {"name": "default", "router_address": address}

    async def give(self, method: Any, order: Any) -> Any:
        return await asyncio.to_thread(give, self.group, method, order)


@pytest.fixture
async def system() -> AsyncIterator[System]:
    supervisor: Any = FakeSupervisor("prefill-0", "decode-0", "decode-1")
    workers = tuple(
        WorkerSettings(worker_id=name, role=name.split("-")[0]) for name in ("prefill-0", "decode-0", "decode-1")
    )
    worker = Worker()
    router = Router("default")
    async with (
        served(LocalPools(supervisor, workers).register) as pools,
        served(lambda it: control_stubs.add_worker(it, worker.nothing, worker.flip, worker.nothing)) as at_worker,
    ):
        capacity = Capacity(router, SchedulerSettings(scaler=pools, steering="observe"), clock.now_s)
        async with served(capacity.register) as address:
            for settings in workers:
                router.admit(WorkerState(WorkerRef(settings.worker_id, 1, at_worker), Role(settings.role)))
            yield System(supervisor, worker, capacity, address)
        await capacity.close()


async def test_scaling_starts_and_ends_processes(system: System) -> None:
    order = ScaleRequest(((Role.PREFILL, 2), (Role.DECODE, 1)))
    answer = await system.give(control_stubs.CONTROL_SCALE, order)
    assert list(answer.changes) == [PoolChange(Role.PREFILL, 1, 2), PoolChange(Role.DECODE, 2, 1, ("decode-0",))]
    assert system.supervisor.added == ["prefill-1 --role=prefill"]
    assert system.supervisor.removed == ["decode-0"]
    assert [(change.subject, change.outcome) for change in system.capacity.view.changes] == [
        ("prefill", "done"),
        ("decode", "done"),
    ]


async def test_encoders_are_started_like_other_workers(system: System) -> None:
    answer = await system.give(control_stubs.CONTROL_SCALE, ScaleRequest(((Role.ENCODER, 2),)))
    assert list(answer.changes) == [PoolChange(Role.ENCODER, 0, 2)]
    assert system.supervisor.added == ["encoder-0 --role=encoder", "encoder-1 --role=encoder"]


async def test_a_refusal_arrives_as_its_sentence(system: System) -> None:
    with pytest.raises(ChangeRefused, match="no worker for prefill"):
        await system.give(control_stubs.CONTROL_SCALE, ScaleRequest(((Role.PREFILL, 0),)))
    with pytest.raises(ChangeRefused, match="An encoder and a language worker hold different weights"):
        await system.give(control_stubs.CONTROL_FLIP, FlipOrderRequest("prefill-0", Role.ENCODER))
    with pytest.raises(ChangeRefused, match="no worker 'nobody'"):
        await system.give(control_stubs.CONTROL_FLIP, FlipOrderRequest("nobody", Role.DECODE))
    assert system.supervisor.added == []


async def test_a_flip_reaches_the_worker(system: System) -> None:
    answer = await system.give(control_stubs.CONTROL_FLIP, FlipOrderRequest("decode-1", Role.PREFILL))
    assert answer == FlipResponse(Role.DECODE, 5)
    assert system.worker.role is Role.PREFILL
    await system.give(control_stubs.CONTROL_FLIP, FlipOrderRequest("decode-1", Role.DECODE, group="long"))
    told = [(change.subject, change.change) for change in system.capacity.view.changes]
    assert told == [("decode-1", "decode to prefill"), ("decode-1", "prefill to decode, moving to group long")]


async def test_a_flip_to_where_and_what_a_worker_is_already_is_nothing(system: System) -> None:
    order = FlipOrderRequest("decode-1", Role.DECODE, group="default")
    assert await system.give(control_stubs.CONTROL_FLIP, order) == FlipResponse(Role.DECODE, 0)
    assert system.capacity.view.changes == ()


@pytest.mark.parametrize(
    ("previous", "to_group", "is_dry_run", "says"),
    [
        (Role.PREFILL, "", False, "d0 is a decode worker instead of a prefill worker; it finishes 5 sequences"),
        (Role.PREFILL, "", True, "d0 would be a decode worker instead of a prefill worker; it finishes 5 sequences"),
        (Role.DECODE, "b", False, "d0 is moving to group b; it finishes 5 sequences"),
        (
            Role.MIXED,
            "b",
            True,
            "d0 would be a decode worker instead of a mixed worker and would move to group b; it finishes 5 sequences",
        ),
        (Role.DECODE, "", False, "d0 is a decode worker already"),
    ],
)
def test_a_flip_in_words(previous: Role, to_group: str, is_dry_run: bool, says: str) -> None:
    order = FlipOrderRequest("d0", Role.DECODE, is_dry_run=is_dry_run)
    assert flip.sentence(order, FlipResponse(previous, 5), to_group) == says


async def test_a_rollout_starts_a_process_again_under_its_name(system: System) -> None:
    answer = await system.give(control_stubs.CONTROL_ROLLOUT, RolloutRequest((Role.PREFILL,)))
    assert list(answer.worker_ids) == ["prefill-0"]
    while not system.supervisor.added:
        await asyncio.sleep(0.01)
    assert (system.supervisor.removed, system.supervisor.added) == (["prefill-0"], ["prefill-0 --role=prefill"])


async def test_steering_is_changed_and_shown(system: System) -> None:
    assert await system.give(control_stubs.CONTROL_STEER, SteerRequest(Steering.PINNED)) == SteerResponse(
        Steering.OBSERVE
    )
    assert system.capacity.view.steering is Steering.PINNED


def test_a_router_that_is_away_is_a_sentence() -> None:
    with pytest.raises(WorkerLost, match="router of group 'g' is away"):
        give({"name": "g", "router_address": ""}, control_stubs.CONTROL_STEER, SteerRequest(Steering.AUTO))
    with pytest.raises(WorkerLost, match="did not answer"):
        give({"name": "g", "router_address": "127.0.0.1:1"}, control_stubs.CONTROL_STEER, SteerRequest(Steering.AUTO))


@pytest.mark.parametrize(
    ("app", "words", "says"),
    [
        (scale.app, ["prefill"], "not ROLE=COUNT"),
        (scale.app, ["prefill=-1"], "not ROLE=COUNT"),
        (scale.app, ["bogus=1"], "is no role"),
        (scale.app, ["prefill=1", "prefill=2"], "named twice"),
        (flip.app, ["decode-0", "bogus"], "is no role"),
        (rollout.app, ["bogus"], "is no role"),
        (roles.app, ["bogus"], "is none of"),
    ],
)
def test_bad_words_are_refused_before_anybody_is_called(app: Any, words: list[str], says: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert says in result.output.replace("\n", " ")


def test_a_refusal_has_an_exit_status_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ChangeRefused("No.")

    app: Any = refuse
    assert orders.run(app, [], "penstock scale") == EXIT_REFUSED
    assert capsys.readouterr().err == "No.\n"
