"""Workers that neither work nor break their streams."""

import asyncio

from penstock.gateway.dispatcher import RoutedDispatcher
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.requests import expected_tokens, make_request, read
from tests.unit.gateway.dispatcher.virtual_time import until

NUM_TOKENS = 8


def test_a_stopped_prefill_worker_is_passed_over_and_then_tried_last(four: FakeCluster) -> None:
    stopped = four.workers["prefill-0"]
    stopped.is_mute = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        loop = asyncio.get_running_loop()
        request = make_request()
        began_s = loop.time()
        assert await read(dispatcher.generate(request)) == expected_tokens(request)
        assert loop.time() - began_s < four.limits.verdict_timeout_s + 0.2
        assert stopped.cancelled == [stopped.offers[0].request.handle]
        began_s = loop.time()
        await read(dispatcher.generate(make_request("next")))
        assert loop.time() - began_s < 0.2

    four.run(scenario)


def test_a_stopped_decode_worker_is_lost_within_seconds(four: FakeCluster) -> None:
    stopped = four.workers["decode-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        await until(lambda: bool(stopped.held))
        stopped.is_mute = True
        began_s = asyncio.get_running_loop().time()
        await read(generation)
        assert generation.output_token_ids == expected_tokens(request)
        assert asyncio.get_running_loop().time() - began_s < four.limits.silence_timeout_s + 1.0
        assert four.num_probes > 0

    four.run(scenario)


def test_a_long_silent_prefill_is_left_alone_while_its_worker_answers_probes(pair: FakeCluster) -> None:
    pair.prefill_s = 20.0

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request()
        generation = dispatcher.generate(request)
        assert await read(generation) == expected_tokens(request)
        assert generation.num_resumes == 0
        assert len(pair.workers["prefill-0"].offers) == 1

    pair.run(scenario)


def test_a_request_stuck_on_a_worker_that_answers_goes_on_elsewhere(four: FakeCluster) -> None:
    stuck = four.workers["decode-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        await until(lambda: bool(stuck.held))
        stuck.held.clear()
        assert await read(generation) == expected_tokens(request)
        assert generation.num_resumes == 1

    four.run(scenario)
