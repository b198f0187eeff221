"""Refusals: the next candidate, the one queue, deadlines, and who goes first."""

import asyncio

import pytest

from penstock.core.errors import DeadlineExceeded, Draining, NoWorkers, Overloaded
from penstock.core.types import Role
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.limits import DispatchLimits
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.fake_worker import FakeWorker
from tests.unit.gateway.dispatcher.requests import expected_tokens, make_request, read
from tests.unit.gateway.dispatcher.virtual_time import pass_time, until


def test_a_refusal_leads_to_the_next_candidate(pair: FakeCluster) -> None:
    pair.workers["prefill-0"].is_full = True
    second = pair.add("prefill-1")

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request()
        generation = dispatcher.generate(request)
        assert await read(generation) == expected_tokens(request)
        assert len(second.offers) == 1
        assert generation.num_resumes == 0
        assert not pair.workers["prefill-0"].cancelled  # a refusal leaves nothing to cancel

    pair.run(scenario)
    assert pair.registry.get_sample_value("penstock_rejections_total", {"reason": "queue_full"}) == 1


@pytest.mark.parametrize("news", ["capacity", "new worker", "nothing"])
def test_when_all_refuse_the_request_waits_until_something_changes(pair: FakeCluster, news: str) -> None:
    prefill = pair.workers["prefill-0"]
    prefill.is_full = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        loop = asyncio.get_running_loop()
        request = make_request()
        generation = dispatcher.generate(request)
        await until(lambda: dispatcher.num_waiting == 1)
        changed_s = loop.time()
        if news == "new worker":
            pair.add("prefill-1")
        else:
            prefill.is_full = False
        if news == "capacity":
            prefill.say(m.PrefillEvents(has_capacity=True))
        await generation.next_tokens()
        limit_s = pair.limits.tick_s if news == "nothing" else 0.0  # news that got lost costs one tick
        assert loop.time() - changed_s <= limit_s + pair.prefill_s + 0.005
        await read(generation)

    pair.run(scenario)


def test_a_worker_that_drains_is_not_waited_for(pair: FakeCluster) -> None:
    def drain(worker: FakeWorker, start: m.PrefillStart) -> None:
        worker.say(m.PrefillEvents(refused=[m.PrefillEnded(start.request.handle, Draining("going"))]))

    pair.workers["prefill-0"].script = drain

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        with pytest.raises(NoWorkers):
            await read(dispatcher.generate(make_request()))

    pair.run(scenario)


def test_the_deadline_ends_the_wait_with_a_429(pair: FakeCluster) -> None:
    pair.workers["prefill-0"].is_full = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + 1.5
        with pytest.raises(DeadlineExceeded) as raised:
            await read(dispatcher.generate(make_request(first_token_deadline_s=deadline_s)))
        assert raised.value.http_status == 429
        assert raised.value.retry_after_s > 0
        assert deadline_s <= loop.time() < deadline_s + 0.1

    pair.run(scenario)


def test_a_full_queue_turns_newcomers_away(cluster: FakeCluster) -> None:
    cluster.limits = DispatchLimits(max_num_waiting=2)
    prefill = cluster.add("prefill-0", is_full=True)
    cluster.add("decode-0", Role.DECODE)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        waiting = [dispatcher.generate(make_request(f"r{index}")) for index in range(2)]
        await until(lambda: dispatcher.num_waiting == 2)
        with pytest.raises(Overloaded):
            await read(dispatcher.generate(make_request("late")))
        prefill.is_full = False
        await asyncio.gather(*(read(generation) for generation in waiting))

    cluster.run(scenario)


def test_capacity_goes_to_the_earliest_deadline_then_priority_then_arrival(pair: FakeCluster) -> None:
    prefill = pair.workers["prefill-0"]
    prefill.capacity = 1
    prefill.is_full = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        now_s = asyncio.get_running_loop().time()
        requests = [
            make_request("late", 1, first_token_deadline_s=now_s + 30),
            make_request("later", 1, first_token_deadline_s=now_s + 40),
            make_request("urgent", 1, first_token_deadline_s=now_s + 30, priority=5),
            make_request("early", 1, first_token_deadline_s=now_s + 20),
        ]
        generations = [dispatcher.generate(request) for request in requests]
        await until(lambda: dispatcher.num_waiting == 4)
        prefill.is_full = False
        order: list[str] = []

        async def note(name: str, index: int) -> None:
            await read(generations[index])
            order.append(name)

        await asyncio.gather(*(note(request.request_id, index) for index, request in enumerate(requests)))
        assert order == ["early", "urgent", "late", "later"]

    pair.run(scenario)


def test_newcomers_do_not_overtake_those_who_wait(pair: FakeCluster) -> None:
    prefill = pair.workers["prefill-0"]
    prefill.is_full = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        first = dispatcher.generate(make_request("first"))
        await until(lambda: dispatcher.num_waiting == 1)
        num_offers = len(prefill.offers)
        second = dispatcher.generate(make_request("second"))
        await pass_time(0.01)
        assert len(prefill.offers) == num_offers
        assert dispatcher.num_waiting == 2
        prefill.is_full = False
        await asyncio.gather(read(first), read(second))

    pair.run(scenario)


def test_a_burst_of_room_is_filled_at_one_announcement(pair: FakeCluster) -> None:
    prefill = pair.workers["prefill-0"]
    prefill.is_full = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generations = [dispatcher.generate(make_request(f"r{index}", 1)) for index in range(100)]
        await until(lambda: dispatcher.num_waiting == 100)
        prefill.is_full = False
        prefill.say(m.PrefillEvents(has_capacity=True))
        await pass_time(pair.prefill_s / 2)
        assert len(prefill.held) == 100
        await asyncio.gather(*(read(generation) for generation in generations))

    pair.run(scenario)


def test_without_workers_a_request_fails_after_a_few_seconds_and_succeeds_if_one_comes(cluster: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        with pytest.raises(NoWorkers):
            await read(dispatcher.generate(make_request()))
        request = make_request("patient")
        generation = dispatcher.generate(request)
        await pass_time(2.0)
        cluster.add("prefill-0")
        cluster.add("decode-0", Role.DECODE)
        assert await read(generation) == expected_tokens(request)

    cluster.run(scenario)
