"""Workers and control plane die at every moment; the client sees a pause, never another token."""

import asyncio
import random

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

from penstock.core.blocks import hash_blocks
from penstock.core.errors import BlocksExhausted, InternalError, WorkerLost
from penstock.core.types import FinishReason, Role, SampledToken
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.gateway.limits import DispatchLimits
from penstock.wire import messages as m

NUM_TOKENS = 8


@pytest.fixture
def four(cluster: FakeCluster) -> FakeCluster:
    """Two prefill workers, two decode workers."""
    for index in range(2):
        cluster.add(f"prefill-{index}")
        cluster.add(f"decode-{index}", Role.DECODE)
    return cluster


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


# --- silence ---------------------------------------------------------------------------------------------------------


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


# --- the control plane -----------------------------------------------------------------------------------------------


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


# --- anything at any time --------------------------------------------------------------------------------------------


NAMES = ["prefill-0", "prefill-1", "decode-0", "decode-1", "mixed-0"]
ROLES = {"prefill": Role.PREFILL, "decode": Role.DECODE, "mixed": Role.MIXED}


async def disturb(cluster: FakeCluster, dice: random.Random) -> None:
    """Workers die and come back, streams break, workers fill up, the control plane comes and goes."""
    for _ in range(30):
        await pass_time(dice.uniform(0.001, 0.03))
        worker = cluster.workers[dice.choice(NAMES)]
        event = dice.choice(("kill router", "start router", "break streams", "fill", "kill", "kill"))
        if event == "kill router":
            cluster.kill_router()
        elif event == "start router":
            cluster.is_router_up = cluster.is_scheduler_up = True
        elif event == "break streams":
            worker.break_streams()
        elif event == "fill":
            worker.is_full = not worker.is_full
        else:
            cluster.remove(worker)
            await pass_time(dice.uniform(0.0, 0.02))
            cluster.add(worker.ref.worker_id, worker.role)
    cluster.is_router_up = cluster.is_scheduler_up = True
    for worker in cluster.workers.values():
        worker.is_full = False


@pytest.mark.parametrize("seed", range(40))
def test_random_deaths_never_change_the_tokens(cluster: FakeCluster, seed: int) -> None:
    dice = random.Random(seed)
    cluster.limits = DispatchLimits(max_losses=1000)
    for name in NAMES:
        cluster.add(name, ROLES[name[:-2]], capacity=dice.choice((3, 100)))

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        requests = [make_request(f"r{index}", dice.randint(1, 60), num_prompt=20) for index in range(25)]
        disturbance = asyncio.create_task(disturb(cluster, dice))
        results = await asyncio.gather(*(read(dispatcher.generate(request)) for request in requests))
        assert results == [expected_tokens(request) for request in requests]
        await disturbance

    cluster.run(scenario)
