"""One request from offer to last token: order, refusals, waiting, deadlines, cancellation, many at once."""

import asyncio

import pytest
from tests.unit.gateway.dispatcher.conftest import (
    FakeCluster,
    FakeWorker,
    expected_tokens,
    make_request,
    pass_time,
    read,
    until,
)

from penstock.core.errors import DeadlineExceeded, Draining, InvalidRequest, NoWorkers, Overloaded, RequestCancelled
from penstock.core.types import FinishReason, Role, SampledToken, TokenLogprobs
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.limits import DispatchLimits
from penstock.wire import messages as m


def by_hand(worker: FakeWorker, start: m.PrefillStart) -> None:
    """A worker that accepts; the test says the rest."""
    worker.say(m.PrefillEvents(accepted_handles=[start.request.handle]))


def test_delivers_every_token_in_order(pair: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=20)
        generation = dispatcher.generate(request)
        assert dispatcher.num_requests == 1
        assert await read(generation) == expected_tokens(request)
        assert generation.finish_reason is FinishReason.LENGTH
        assert generation.num_cached_tokens == 3
        assert generation.num_resumes == 0

    pair.run(scenario)


def test_a_mixed_worker_alone_decodes_what_it_prefilled(cluster: FakeCluster) -> None:
    worker = cluster.add("mixed-0", Role.MIXED)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request()
        assert await read(dispatcher.generate(request)) == expected_tokens(request)
        assert list(worker.offers[0].decode_candidates) == [worker.ref]

    cluster.run(scenario)


def test_streams_to_every_decode_candidate_are_open_before_the_offer(pair: FakeCluster) -> None:
    second = pair.add("decode-1", Role.DECODE)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        await read(dispatcher.generate(make_request()))
        assert len(second.decodes) == 1
        assert second.decodes[0].calls[0].hello == m.Hello("gateway-0", 7, second.ref.incarnation)

    pair.run(scenario)


# The decode worker's stream and the prefill worker's agree on no order: p = first token, h = hand-off, d = a decode
# token, f = decode's end.
ORDERS = ["phddf", "pdhdf", "pddfh", "dphdf", "ddphf", "ddfph", "ddfp", "dpdf", "hpddf", "hddfp", "pddf"]


@pytest.mark.parametrize("order", ORDERS)
def test_tokens_are_put_in_order_whatever_order_the_streams_speak_in(pair: FakeCluster, order: str) -> None:
    prefill, decode = pair.workers["prefill-0"], pair.workers["decode-0"]
    prefill.script = by_hand

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=3))
        await until(lambda: bool(prefill.offers))
        handle, position = prefill.offers[0].request.handle, 1
        for event in order:
            if event == "p":
                prefill.say(m.PrefillEvents(first_tokens=[m.FirstToken(handle, SampledToken(100))]))
            elif event == "h":
                prefill.say(m.PrefillEvents(handed_off=[m.HandedOff(handle, decode.ref)]))
            elif event == "d":
                decode.step(m.StepOutputs(position, [handle], [100 + position], [position]))
                position += 1
            else:
                decode.step(m.StepOutputs(position, finished=[m.Finished(handle, FinishReason.STOP)]))
            await pass_time(0.001)
        assert await read(generation) == [100, 101, 102]
        assert generation.finish_reason is FinishReason.STOP
        assert not prefill.cancelled and not decode.cancelled

    pair.run(scenario)


def test_repeated_tokens_and_messages_of_unknown_handles_are_dropped(pair: FakeCluster) -> None:
    prefill, decode = pair.workers["prefill-0"], pair.workers["decode-0"]
    prefill.script = by_hand

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=3))
        await until(lambda: bool(prefill.offers))
        handle = prefill.offers[0].request.handle
        first = m.FirstToken(handle, SampledToken(100))
        prefill.say(m.PrefillEvents(first_tokens=[first, first, m.FirstToken(999, SampledToken(1))]))
        decode.step(m.StepOutputs(1, [999, handle], [1, 101], [0, 1]))
        decode.step(m.StepOutputs(2, [handle, handle], [101, 102], [1, 2], [m.Finished(999, FinishReason.STOP)]))
        decode.step(m.StepOutputs(3, finished=[m.Finished(handle, FinishReason.LENGTH)]))
        prefill.say(m.PrefillEvents([999], [m.PrefillEnded(999, Draining("late"))], [], [m.HandedOff(999, decode.ref)]))
        assert await read(generation) == [100, 101, 102]

    pair.run(scenario)


def test_logprobs_travel_with_their_tokens_even_when_steps_were_merged(pair: FakeCluster) -> None:
    prefill, decode = pair.workers["prefill-0"], pair.workers["decode-0"]
    prefill.script = by_hand
    logprobs = [TokenLogprobs(-float(position), (5,), (-0.5,)) for position in range(3)]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=3))
        await until(lambda: bool(prefill.offers))
        handle = prefill.offers[0].request.handle
        prefill.say(m.PrefillEvents(first_tokens=[m.FirstToken(handle, SampledToken(100, logprobs[0]))]))
        assert await generation.next_tokens() == [SampledToken(100, logprobs[0])]
        ended, entries = [m.Finished(handle, FinishReason.LENGTH)], [(handle, logprobs[1]), (handle, logprobs[2])]
        decode.step(m.StepOutputs(2, [handle, handle], [101, 102], [1, 2], ended, entries))
        assert await generation.next_tokens() == [SampledToken(101, logprobs[1]), SampledToken(102, logprobs[2])]
        assert generation.is_done

    pair.run(scenario)


# --- refusal and waiting ---------------------------------------------------------------------------------------------


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


# --- cancellation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.005, 0.0105, 0.013, 0.02, 0.03, 1.0])
@pytest.mark.parametrize("is_full", [False, True])
def test_cancelling_at_any_stage_leaves_nothing_behind(pair: FakeCluster, after_s: float, is_full: bool) -> None:
    prefill, decode = pair.workers["prefill-0"], pair.workers["decode-0"]
    prefill.is_full = is_full

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=1000))
        await pass_time(after_s)
        generation.cancel()
        generation.cancel()
        assert dispatcher.num_requests == 0
        with pytest.raises(RequestCancelled):
            await generation.next_tokens()
        await pass_time(0.01)
        assert not prefill.held and not decode.held
        assert dispatcher.num_waiting == 0

    pair.run(scenario)


def test_cancelling_one_choice_leaves_the_others_alone(pair: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        requests = [make_request(f"r-{index}", 20) for index in range(3)]
        generations = [dispatcher.generate(request) for request in requests]
        await pass_time(0.03)
        generations[1].cancel()
        assert await read(generations[0]) == expected_tokens(requests[0])
        assert await read(generations[2]) == expected_tokens(requests[2])

    pair.run(scenario)


def test_an_id_in_use_is_refused_and_free_again_afterwards(pair: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        first = dispatcher.generate(make_request())
        with pytest.raises(InvalidRequest):
            dispatcher.generate(make_request())
        first.cancel()
        assert await read(dispatcher.generate(make_request())) == expected_tokens(make_request())

    pair.run(scenario)


def test_closing_ends_every_generation_and_cancels_on_the_workers(pair: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=1000))
        await pass_time(0.03)
        await dispatcher.close()
        with pytest.raises(RequestCancelled):
            await read(generation)

    pair.run(scenario)


# --- many ------------------------------------------------------------------------------------------------------------


def test_a_thousand_at_once_all_get_their_tokens(cluster: FakeCluster) -> None:
    for index in range(2):
        cluster.add(f"prefill-{index}", capacity=40)
        cluster.add(f"decode-{index}", Role.DECODE)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        requests = [make_request(f"r{index}", 4, num_prompt=5) for index in range(1000)]
        generations = [dispatcher.generate(request) for request in requests]
        results = await asyncio.gather(*(read(generation) for generation in generations))
        assert results == [expected_tokens(request) for request in requests]

    cluster.run(scenario)
