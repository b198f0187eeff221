"""Workers die at every moment; the client sees a pause, never another token."""

from dataclasses import replace

import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.errors import BlocksExhausted, InternalError, WorkerLost
from penstock.core.images import ImageSpan, hashed_token_ids
from penstock.core.types import FinishReason, Role, SampledToken
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.wire import messages as m
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.fake_worker import FakeWorker
from tests.unit.gateway.dispatcher.requests import expected_tokens, make_request, read
from tests.unit.gateway.dispatcher.virtual_time import pass_time, until

NUM_TOKENS = 8


@pytest.mark.parametrize("at_s", [0.0, 0.001, 0.005, 0.0099, 0.0101, 0.0115, 0.013])
def test_prefill_dies_before_or_after_the_first_token(four: FakeCluster, at_s: float) -> None:
    first = four.workers["prefill-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        await until(lambda: bool(first.offers))
        await pass_time(at_s)
        first.die()
        assert await read(generation) == expected_tokens(request)

    four.run(scenario)


@pytest.mark.parametrize("num_delivered", range(1, NUM_TOKENS))
def test_decode_dies_after_any_token(four: FakeCluster, num_delivered: int) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        request = make_request(max_tokens=NUM_TOKENS, block_hashes=hash_blocks(request.prompt_token_ids, b"tenant"))
        generation = dispatcher.generate(request)
        tokens: list[int] = []
        while len(tokens) < num_delivered:
            tokens += [token.token_id for token in await generation.next_tokens()]
        four.workers["decode-0"].die()
        tokens += await read(generation)
        assert tokens == expected_tokens(request)
        resumed = four.workers["prefill-0"].offers[-1].request
        context = [*request.prompt_token_ids, *resumed.output_token_ids]
        assert generation.num_resumes == resumed.attempt == 1
        assert resumed.sampling == request.sampling
        assert list(resumed.block_hashes) == hash_blocks(context, b"tenant")

    four.run(scenario)


def test_what_is_resumed_after_an_image_is_still_hashed_by_what_the_image_shows(four: FakeCluster) -> None:
    span = ImageSpan(start=30, num_tokens=10, content_hash=bytes(range(16)), grid=(1, 4, 10))  # ends in an open block
    for worker in four.workers.values():
        worker.has_embeddings = True

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS * 2)
        hashes = hash_blocks(hashed_token_ids(request.prompt_token_ids, [span]), b"tenant")
        request = replace(request, images=[span], block_hashes=hashes)
        generation = dispatcher.generate(request, [b"file"])
        while len(generation.output_token_ids) < NUM_TOKENS:
            await generation.next_tokens()
        four.workers["decode-0"].die()
        await read(generation)
        resumed = four.workers["prefill-0"].offers[-1].request
        context = [*request.prompt_token_ids, *resumed.output_token_ids]
        assert resumed.images == [span]
        assert len(resumed.block_hashes) == len(hashes) + 1
        assert list(resumed.block_hashes) == hash_blocks(hashed_token_ids(context, [span]), b"tenant")

    four.run(scenario)


def test_the_last_worker_pair_dies_and_comes_back_as_another_life(pair: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        tokens = [token.token_id for token in await generation.next_tokens()]
        for name in ("prefill-0", "decode-0"):
            pair.remove(pair.workers[name])
        await pass_time(10.0)
        pair.add("prefill-0")
        pair.add("decode-0", Role.DECODE)
        assert tokens + await read(generation) == expected_tokens(request)

    pair.run(scenario)


def test_a_worker_that_restarts_unnoticed_is_lost_when_the_membership_says_so(pair: FakeCluster) -> None:
    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        old = pair.workers["decode-0"]
        await until(lambda: bool(old.held))
        old.is_alive = False  # its streams hang: nobody sent a reset
        pair.add("decode-0", Role.DECODE)
        await read(generation)
        assert generation.output_token_ids == expected_tokens(request)

    pair.run(scenario, seconds=2.0)


@pytest.mark.parametrize("error", [WorkerLost("gone"), BlocksExhausted("preempted"), InternalError("bug"), None])
def test_a_decode_worker_that_gives_up_is_continued_elsewhere(four: FakeCluster, error: WorkerLost | None) -> None:
    decode = four.workers["decode-0"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        await until(lambda: bool(decode.held))
        handle = next(iter(decode.held))
        decode.held.clear()
        decode.step(m.StepOutputs(1, finished=[m.Finished(handle, None, error)]))
        assert await read(generation) == expected_tokens(request)
        is_blamed = not isinstance(error, BlocksExhausted)  # a full worker may have room again
        resumed = four.workers["prefill-0"].offers[1]
        assert (decode.ref not in resumed.decode_candidates) is is_blamed

    four.run(scenario)


def test_prefill_dies_after_decode_has_spoken_but_before_its_own_first_token(four: FakeCluster) -> None:
    prefill, decode = four.workers["prefill-0"], four.workers["decode-0"]
    prefill.script = lambda worker, start: worker.say(m.PrefillEvents([start.request.handle]))

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        await until(lambda: bool(prefill.offers))
        decode.step(m.StepOutputs(1, [prefill.offers[0].request.handle], [7], [1]))
        await pass_time(0.001)
        prefill.die()
        assert await read(generation) == expected_tokens(request)

    four.run(scenario, seconds=1.0)


def test_a_prefill_whose_decode_candidates_all_died_is_not_waited_for(pair: FakeCluster) -> None:
    pair.prefill_s = 20.0

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        await pass_time(1.0)
        pair.remove(pair.workers["decode-0"])
        pair.prefill_s = 0.01
        pair.add("decode-0", Role.DECODE)
        assert await read(generation) == expected_tokens(request)
        assert pair.workers["prefill-0"].cancelled == [pair.workers["prefill-0"].offers[0].request.handle]

    pair.run(scenario, seconds=3.0)


def test_a_skipped_token_is_noticed_and_the_request_resumed(pair: FakeCluster) -> None:
    prefill, decode = pair.workers["prefill-0"], pair.workers["decode-0"]

    def by_hand(worker: FakeWorker, start: m.PrefillStart) -> None:
        handle, token = start.request.handle, SampledToken(expected_tokens(request)[0])
        worker.say(m.PrefillEvents([handle], first_tokens=[m.FirstToken(handle, token)]))
        worker.say(m.PrefillEvents(handed_off=[m.HandedOff(handle, decode.ref)]))
        worker.script = None

    prefill.script = by_hand
    request = make_request(max_tokens=NUM_TOKENS)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(request)
        await generation.next_tokens()
        handle = prefill.offers[0].request.handle
        await pass_time(0.001)
        decode.step(m.StepOutputs(1, [handle], [9], [2]))
        await read(generation)
        assert generation.output_token_ids == expected_tokens(request)
        assert handle in decode.cancelled

    pair.run(scenario, seconds=1.0)


def test_late_messages_of_an_older_attempt_change_nothing(four: FakeCluster) -> None:
    first, second = four.workers["decode-0"], four.workers["decode-1"]

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        request = make_request(max_tokens=NUM_TOKENS)
        generation = dispatcher.generate(request)
        await until(lambda: bool(first.held))
        handle = next(iter(first.held))
        first.die()
        await until(lambda: bool(second.held))
        position = len(generation.output_token_ids)
        late = [m.Finished(handle, FinishReason.STOP)]
        second.step(m.StepOutputs(1, [handle], [1], [position], late))
        four.workers["prefill-0"].say(m.PrefillEvents(failed=[m.PrefillEnded(handle, WorkerLost("late"))]))
        await read(generation)
        assert generation.output_token_ids == expected_tokens(request)

    four.run(scenario)


def test_the_end_is_not_lost_with_the_worker_when_every_token_arrived(pair: FakeCluster) -> None:
    prefill, decode = pair.workers["prefill-0"], pair.workers["decode-0"]
    prefill.script = lambda worker, start: worker.say(
        m.PrefillEvents(
            [start.request.handle],
            first_tokens=[m.FirstToken(start.request.handle, SampledToken(1))],
            handed_off=[m.HandedOff(start.request.handle, decode.ref)],
        )
    )

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(make_request(max_tokens=2))
        await generation.next_tokens()
        decode.step(m.StepOutputs(1, [prefill.offers[0].request.handle], [2], [1]))
        await generation.next_tokens()
        decode.die()
        assert await generation.next_tokens() == []
        assert generation.finish_reason is FinishReason.LENGTH

    pair.run(scenario)


def test_a_request_that_kills_every_worker_is_given_up(pair: FakeCluster) -> None:
    def poisoned(worker: FakeWorker, start: m.PrefillStart) -> None:
        handle = start.request.handle
        worker.say(m.PrefillEvents([handle], failed=[m.PrefillEnded(handle, InternalError("kernel crashed"))]))

    prefill = pair.workers["prefill-0"]
    prefill.script = poisoned

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        with pytest.raises(InternalError):
            await read(dispatcher.generate(make_request()))
        assert len(prefill.offers) == pair.limits.max_losses

    pair.run(scenario)
