from typing import Any, NoReturn

import pytest
from prometheus_client import CollectorRegistry

from penstock.core.errors import WorkerLost
from penstock.core.types import WorkerState
from penstock.scheduler.directory import Directory, GroupSummary
from penstock.scheduler.metrics import DirectoryMetrics
from penstock.scheduler.ports import nth_address
from penstock.wire.messages import JoinRequest, RegisterRequest
from tests.unit.workers import make_worker


class FakeRouter:
    def __init__(self, group: str) -> None:
        self.group = group
        self.address = f"{group}:1"
        self.metrics_address = f"{group}:2"
        self.admitted: list[WorkerState] = []
        self.is_silent = False
        self.num_restarts = 0

    async def admit(self, state: WorkerState) -> None:
        if self.is_silent:
            raise WorkerLost("silent")
        self.admitted.append(state)

    async def summary(self) -> GroupSummary:
        if self.is_silent:
            raise WorkerLost("silent")
        return GroupSummary(self.group, self.address, {"prefill": len(self.admitted)})

    def restart(self) -> None:
        self.num_restarts += 1
        self.is_silent = False


class Aborted(Exception):
    pass


class FakeContext:
    async def abort(self, _code: object, details: str, _metadata: object) -> NoReturn:
        raise Aborted(details)


CONTEXT: Any = FakeContext()


@pytest.fixture
def routers() -> dict[str, FakeRouter]:
    return {}


@pytest.fixture
def directory(routers: dict[str, FakeRouter]) -> Directory:
    async def create(group: str) -> FakeRouter:
        assert group not in routers, "one router per group"
        return routers.setdefault(group, FakeRouter(group))

    return Directory(create, 0.5, DirectoryMetrics(CollectorRegistry()))


async def test_a_worker_is_introduced_to_its_groups_router(
    directory: Directory, routers: dict[str, FakeRouter]
) -> None:
    for name in ("p0", "p1"):
        response = await directory.register(RegisterRequest(make_worker(name, group="chat")), CONTEXT)
        assert (response.router_address, response.heartbeat_interval_s) == ("chat:1", 0.5)
    assert [state.ref.worker_id for state in routers["chat"].admitted] == ["p0", "p1"]


async def test_a_gateway_learns_of_every_group(directory: Directory) -> None:
    await directory.open_group("default")
    await directory.register(RegisterRequest(make_worker("p0", group="chat")), CONTEXT)
    response = await directory.join(JoinRequest("gateway-0"), CONTEXT)
    assert response.router_addresses == [("default", "default:1"), ("chat", "chat:1")]
    assert response.metrics_addresses == ["default:2", "chat:2"]
    directory.metrics_address = "global:2"
    assert (await directory.join(JoinRequest("gateway-1"), CONTEXT)).metrics_addresses[0] == "global:2"


async def test_registration_fails_while_the_router_is_away(
    directory: Directory, routers: dict[str, FakeRouter]
) -> None:
    await directory.open_group("default")
    routers["default"].is_silent = True
    with pytest.raises(Aborted, match="silent"):
        await directory.register(RegisterRequest(make_worker("p0")), CONTEXT)


async def test_a_router_that_stays_silent_is_restarted(directory: Directory, routers: dict[str, FakeRouter]) -> None:
    await directory.open_group("default")
    await directory.supervise()
    assert directory.summaries["default"].num_workers == {"prefill": 0}
    routers["default"].is_silent = True
    for _ in range(4):
        await directory.supervise()
    assert routers["default"].num_restarts == 0
    await directory.supervise()
    assert routers["default"].num_restarts == 1


def test_routers_take_ports_counting_up_from_the_base() -> None:
    assert nth_address("127.0.0.1", 8200, ()) == "127.0.0.1:8200"
    assert nth_address("127.0.0.1", 8200, {8200, 8201}) == "127.0.0.1:8202"
    assert nth_address("127.0.0.1", 8200, {8201}) == "127.0.0.1:8200"
