"""One request from offer to last token: order, cancellation, many at once."""

import asyncio

import pytest

from penstock.core.errors import Draining, InvalidRequest, RequestCancelled
from penstock.core.types import FinishReason, Role, SampledToken, TokenLogprobs
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.fake_worker import FakeWorker
from tests.unit.gateway.dispatcher.requests import expected_tokens, make_request, read
from tests.unit.gateway.dispatcher.virtual_time import pass_time, until


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
        end = max(order.index("p"), order.index("f"))
        # before the hand-off nobody knows whether the prefill worker looks for another to decode it
        assert prefill.cancelled == decode.cancelled == ([] if "h" in order[:end] else [handle])

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
        entries = [(handle, logprobs[1]), (handle, logprobs[2])]
        decode.step(m.StepOutputs(2, [handle, handle], [101, 102], [1, 2], logprobs=entries))
        assert await generation.next_tokens() == [SampledToken(101, logprobs[1]), SampledToken(102, logprobs[2])]
        prefill.die()  # a token from decode says that prefill is not needed any more
        decode.step(m.StepOutputs(3, finished=[m.Finished(handle, FinishReason.LENGTH)]))
        assert await generation.next_tokens() == []
        assert generation.is_done

    pair.run(scenario)


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


@pytest.mark.parametrize(("leave", "num_finished"), [("stop", 1), ("cancel", 0)])
def test_an_answer_that_its_reader_ends_counts_as_finished(pair: FakeCluster, leave: str, num_finished: int) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=300))
        tokens = await generation.next_tokens()
        generation.timeline.token(asyncio.get_running_loop().time(), len(tokens))
        getattr(generation, leave)()
        await pass_time(0.1)
        assert dispatcher._answered.load(num_waiting=0).num_finished == num_finished
        assert pair.workers["prefill-0"].cancelled or pair.workers["decode-0"].cancelled

    pair.run(scenario)
