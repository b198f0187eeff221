"""Scheduler and router come and go; requests do not notice."""

import asyncio

from penstock.core.types import Role
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.requests import expected_tokens, make_request, read
from tests.unit.gateway.dispatcher.virtual_time import pass_time, until


def test_with_a_dead_control_plane_requests_are_forwarded_by_rejection(four: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        four.kill_router()
        four.workers["prefill-0"].is_full = True
        await pass_time(1.0)
        requests = [make_request(f"r{index}") for index in range(20)]
        results = await asyncio.gather(*(read(dispatcher.generate(request)) for request in requests))
        assert results == [expected_tokens(request) for request in requests]
        assert dispatcher.membership()[0].workers  # the last one heard
        four.is_router_up = four.is_scheduler_up = True
        await pass_time(2.0)
        num_queries = len(four.queries)
        await read(dispatcher.generate(make_request("routed")))
        assert len(four.queries) > num_queries

    four.run(scenario)
    assert (four.registry.get_sample_value("penstock_routes_without_router_total") or 0) >= 20


def test_a_router_that_dies_with_the_question_costs_nothing(four: FakeCluster) -> None:
    four.is_router_mute = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        loop = asyncio.get_running_loop()
        request, began_s = make_request(), loop.time()
        generation = dispatcher.generate(request)
        await until(lambda: bool(four.queries))
        four.kill_router()
        assert await read(generation) == expected_tokens(request)
        assert loop.time() - began_s < 0.2

    four.run(scenario)


def test_a_router_that_does_not_answer_costs_its_deadline(four: FakeCluster) -> None:
    four.is_router_mute = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        loop = asyncio.get_running_loop()
        request, began_s = make_request(), loop.time()
        assert await read(dispatcher.generate(request)) == expected_tokens(request)
        assert loop.time() - began_s < four.limits.route_timeout_s + 0.2

    four.run(scenario)


def test_a_restarted_router_that_knows_nobody_yet_does_not_lose_the_workers(four: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        known = dict(four.workers)
        four.kill_router()
        four.workers.clear()  # the new router's membership is empty ...
        four.is_router_up = four.is_scheduler_up = True
        num_routers = len(four.routers)
        await until(lambda: len(four.routers) > num_routers)
        await pass_time(0.05)
        for stream in four.routers:
            stream.send(m.RouteEvents(membership=m.MembershipView("default", [])))
        assert len(dispatcher.membership()[0].workers) == 4  # ... the gateway's is not
        four.workers.update(known)  # workers never stopped serving
        request = make_request()
        assert await read(dispatcher.generate(request)) == expected_tokens(request)

    four.run(scenario)


def test_a_gateway_may_start_before_its_scheduler(cluster: FakeCluster) -> None:
    cluster.is_scheduler_up = False

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request()
        generation = dispatcher.generate(request)
        await pass_time(2.0)
        assert not dispatcher.membership()
        cluster.is_scheduler_up = True
        cluster.add("prefill-0")
        cluster.add("decode-0", Role.DECODE)
        assert await read(generation) == expected_tokens(request)

    cluster.run(scenario)


def test_streams_to_workers_that_left_are_closed_when_nothing_needs_them(pair: FakeCluster) -> None:
    pair.prefill_s = 5.0

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        leaving = pair.workers["decode-0"]
        generation = dispatcher.generate(make_request(max_tokens=300))
        await until(lambda: bool(leaving.decodes))
        await pass_time(4.0)
        leaving.is_listed = False
        pair.publish()
        await read(generation)  # it still takes over what was promised to it, and finishes it
        assert generation.num_resumes == 0
        await until(lambda: not leaving.decodes[0].is_open)
        assert not leaving.cancelled

    pair.run(scenario)


def test_what_streams_already_goes_before_what_waits(pair: FakeCluster) -> None:
    prefill, decode = pair.workers["prefill-0"], pair.workers["decode-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        streaming = dispatcher.generate(make_request("streaming", max_tokens=100))
        await until(lambda: bool(decode.held))
        prefill.is_full = True
        deadline_s = asyncio.get_running_loop().time() + 20
        waiting = dispatcher.generate(make_request("waiting", first_token_deadline_s=deadline_s, priority=9))
        await until(lambda: dispatcher.num_waiting == 1)
        decode.break_streams()
        decode.held.clear()
        await until(lambda: dispatcher.num_waiting == 2)
        num_offers = len(prefill.offers)
        prefill.is_full = False
        await asyncio.gather(read(streaming), read(waiting))
        assert prefill.offers[num_offers].request.request_id == "streaming"

    pair.run(scenario)
