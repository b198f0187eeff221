import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from penstock.core.pools import RoleChange
from penstock.core.types import Role, RouteQuery
from penstock.runtime.tracing import FinishedSpan, Tracer
from penstock.scheduler.control_service import ORDERED
from penstock.scheduler.metrics import RouterMetrics
from penstock.scheduler.router import Router
from penstock.scheduler.router_service import RouterService
from penstock.wire.messages import Hello, RouteCalls, RouteEvents
from tests.unit.trace_context import TRACEPARENT
from tests.unit.workers import make_worker

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
def service(clock: Callable[[], float], registry: CollectorRegistry) -> RouterService:
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


async def test_changes_of_membership_go_out_at_once_and_load_only_when_due(service: RouterService, clock: Any) -> None:
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


async def test_pools_and_what_changed_in_them(service: RouterService, registry: CollectorRegistry, clock: Any) -> None:
    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"group": "default", **labels})

    service.admit(replace(make_worker("p1"), num_waiting=2, num_running=3, num_blocks=100, num_free_blocks=40))
    service.tick()
    assert value("penstock_pool_sequences", role="prefill", state="waiting") == 2
    assert value("penstock_pool_sequences", role="prefill", state="running") == 3
    used = value("penstock_pool_blocks", role="prefill", state="used")
    service.admit(replace(make_worker("p1"), role=Role.DECODE, num_blocks=100, num_free_blocks=40))
    service.tick()
    assert value("penstock_flips_total", from_role="prefill", to_role="decode") == 1
    assert used is not None and value("penstock_pool_blocks", role="prefill", state="used") == used - 60
    service.admit(replace(make_worker("p0"), is_draining=True))
    service.tick()
    assert value("penstock_drains_total", role="prefill") == 1
    clock.now += 10.0
    service.tick()
    assert value("penstock_worker_departures_total", role="prefill", how="drained") == 1
    assert value("penstock_worker_departures_total", role="decode", how="lost") == 2
    assert registry.get_sample_value("penstock_heartbeat_age_seconds", {"group": "default", "worker": "p0"}) is None


@pytest.mark.parametrize(
    ("reason", "outcome", "labels"),
    [
        (ORDERED, "done", {"by": "operator", "outcome": "done"}),
        ("decode has 12 % of its blocks left", "observed", {"by": "controller", "outcome": "observed"}),
        (ORDERED, "The worker did not answer.", {"by": "operator", "outcome": "failed"}),
    ],
)
def test_role_changes_by_who_asked_and_what_came_of_it(reason: str, outcome: str, labels: dict[str, str]) -> None:
    registry = CollectorRegistry()
    RouterMetrics(registry, "default").role_changed(RoleChange(1.0, "p0", "prefill to decode", reason, outcome))
    assert registry.get_sample_value("penstock_role_changes_total", {"group": "default", **labels}) == 1


async def test_a_traced_query_has_a_span(service: RouterService) -> None:
    spans: list[FinishedSpan] = []
    service._tracer = Tracer(spans.append)
    service._answer(RouteQuery("r-0", 10, 20, traceparent=TRACEPARENT))
    service._answer(RouteQuery("r-1", 10, 20))
    (span,) = spans
    assert (span.name, span.context.parent_id) == ("rank", "b7ad6b7169203331")
    assert span.attributes["penstock.prefill_worker"] == "p0"
