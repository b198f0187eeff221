import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from penstock.core.types import Role, RouteQuery, WorkerState
from penstock.scheduler.metrics import RouterMetrics
from penstock.scheduler.router import Router
from penstock.scheduler.router_service import RouterService
from penstock.wire.messages import Hello, RouteCalls, RouteEvents

MakeWorker = Callable[..., WorkerState]
CONTEXT = cast(Any, None)  # the handlers do not touch it


class Gateway:
    """The far end of one stream."""

    def __init__(self, service: RouterService) -> None:
        self._calls: asyncio.Queue[RouteCalls | None] = asyncio.Queue()
        self.events = service.route(self._receive(), CONTEXT)

    def ask(self, *request_ids: str) -> None:
        self._calls.put_nowait(RouteCalls(queries=[RouteQuery(name, 100, 10) for name in request_ids]))

    def leave(self) -> None:
        self._calls.put_nowait(None)

    async def next(self) -> RouteEvents:
        async with asyncio.timeout(5):
            return await anext(self.events)

    async def _receive(self) -> AsyncIterator[RouteCalls]:
        yield RouteCalls(hello=Hello("gateway-0", 1, 0))
        while (call := await self._calls.get()) is not None:
            yield call


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def service(clock: Callable[[], float], make_worker: MakeWorker, registry: CollectorRegistry) -> RouterService:
    router = Router("default", now_s=clock)
    made = RouterService(router, RouterMetrics(registry, "default"), refresh_s=0.5, now_s=clock)
    made.admit(make_worker("p0"))
    made.admit(make_worker("d0", Role.DECODE))
    return made


def members(events: RouteEvents) -> set[str]:
    assert events.membership is not None
    return {worker.ref.worker_id for worker in events.membership.workers}


async def test_a_stream_begins_with_the_whole_membership_then_answers(service: RouterService) -> None:
    gateway = Gateway(service)
    assert members(await gateway.next()) == {"p0", "d0"}
    gateway.ask("r-0", "r-1")
    events = await gateway.next()
    assert [answer.request_id for answer in events.answers] == ["r-0", "r-1"]
    assert events.membership is None


async def test_changes_of_membership_go_out_at_once_and_load_only_when_due(
    service: RouterService, clock: Any, make_worker: MakeWorker
) -> None:
    gateway = Gateway(service)
    await gateway.next()
    service.admit(make_worker("p1"))
    assert members(await gateway.next()) == {"p0", "d0", "p1"}
    clock.now += 0.25
    service.tick()
    gateway.ask("r-0")
    assert (await gateway.next()).membership is None  # nothing was due at 0.25 s
    clock.now += 0.35
    service.tick()
    assert members(await gateway.next()) == {"p0", "d0", "p1"}


async def test_expired_workers_are_told_of(service: RouterService, clock: Any) -> None:
    gateway = Gateway(service)
    await gateway.next()
    clock.now += 10.0
    service.tick()
    assert members(await gateway.next()) == set()


async def test_a_stream_ends_when_its_gateway_leaves_and_leaves_nothing_behind(service: RouterService) -> None:
    gateway = Gateway(service)
    await gateway.next()
    gateway.leave()
    with pytest.raises(StopAsyncIteration):
        await gateway.next()
    assert len(asyncio.all_tasks()) == 1


async def test_routes_and_workers_are_counted(service: RouterService, registry: CollectorRegistry) -> None:
    gateway = Gateway(service)
    await gateway.next()
    gateway.ask("r-0")
    await gateway.next()
    service.tick()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"group": "default", **labels})

    assert value("penstock_routes_total", outcome="disaggregated") == 1
    assert value("penstock_route_decision_seconds_count") == 1
    assert value("penstock_workers", role="prefill") == 1
    assert value("penstock_heartbeat_age_seconds", worker="p0") == 0
