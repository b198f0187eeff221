"""The prefiller on the mock engine: verdicts at once, first tokens, hand-overs, and every early end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.core.errors import BlocksExhausted, Draining, PenstockError, StaleAttempt
from penstock.core.types import FinishReason, Request, SamplingParams, Sequence, WorkerRef
from penstock.engine.loop import EngineLoop
from penstock.prefill.handoff import HandoffLimits
from penstock.prefill.loop import Prefiller
from penstock.runtime.outbox import Outbox
from penstock.wire.messages import PrefillEvents, PrefillStart
from tests.unit.decode.decode_worker import take
from tests.unit.engine.mock_engine import STEP_S, expected_tokens, make_engine, make_request, running
from tests.unit.prefill.fake_decode import FakeDecode, connect
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle

ME = WorkerRef("prefill-0", 11, "prefill-0:1")
PROMPT = list(range(40))
FIRST = expected_tokens(PROMPT, 1)[0]


class FakeLinks:
    def __init__(self, *decodes: FakeDecode) -> None:
        self.decodes = {decode.ref: decode for decode in decodes}
        self.links: dict[WorkerRef, Any] = {}

    async def get(self, ref: WorkerRef) -> Any:
        if ref not in self.links:
            self.links[ref] = await connect(self.decodes[ref])
        return self.links[ref]


class PrefillWorker:
    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.decode = FakeDecode()
        self.local: list[Sequence] = []
        self.links = FakeLinks(self.decode)
        self.outbox: Outbox[PrefillEvents] = Outbox()
        links: Any = self.links
        self.prefiller = Prefiller(ME, engine.book, links, self._decode_in_place, HandoffLimits(), now_s)

    def _decode_in_place(self, sequence: Sequence) -> None:
        self.local.append(sequence)
        self.engine.book.release(sequence)

    def start(self, request: Request, *candidates: WorkerRef) -> None:
        self.prefiller.start(PrefillStart(request, candidates or (self.decode.ref,)), self.outbox)

    def said(self, name: str) -> list[Any]:
        return [item for events in self.outbox._items for item in getattr(events, name)]

    @property
    def num_referenced(self) -> int:
        return self.engine.book.pool.num_referenced


@asynccontextmanager
async def prefill_worker(num_blocks: int = 64, max_tokens: int = 16) -> AsyncIterator[PrefillWorker]:
    """At its end no block, no prefill and no task is left."""
    async with running(make_engine(num_blocks, max_tokens)) as engine:
        worker = PrefillWorker(engine)
        yield worker
        for link in worker.links.links.values():
            await link.close()
        await settle()
        assert worker.prefiller.num_sequences == 0
        assert worker.prefiller.num_tasks == 0


def request(handle: int = 0, **fields: Any) -> Request:
    return make_request(PROMPT, handle=handle, **fields)


@in_virtual_time
async def test_a_prompt_is_accepted_computed_and_handed_over() -> None:
    async with prefill_worker() as worker:
        worker.start(request())
        assert take(worker.outbox) == [PrefillEvents(accepted_handles=[0])]
        await pass_time(10 * STEP_S)
        [first] = worker.said("first_tokens")
        assert (first.handle, first.token.token_id, first.finish_reason) == (0, FIRST, None)
        [queue, prefill] = first.spans
        assert (queue.stage, prefill.stage) == ("queue", "prefill")
        assert queue.began_ago_s >= queue.ended_ago_s == prefill.began_ago_s == pytest.approx(3 * STEP_S)
        [handed_off] = worker.said("handed_off")
        assert (handed_off.handle, handed_off.decode) == (0, worker.decode.ref)
        [commit] = worker.decode.said("commits")
        assert commit.request.output_token_ids == [FIRST]
        moved = {(n, t) for push in worker.decode.channel.done for n in push.layers for t in push.tokens}
        assert moved == {(layer, token) for layer in range(2) for token in range(40)}
        assert worker.num_referenced == 0


@in_virtual_time
async def test_what_the_prefix_cache_held_is_pushed_too() -> None:
    async with prefill_worker() as worker:
        for handle in range(2):
            worker.start(request(handle))
            await pass_time(10 * STEP_S)
            moved = {(n, t) for push in worker.decode.channel.done for n in push.layers for t in push.tokens}
            assert len(moved) == 80
            worker.decode.channel.done.clear()
        assert [first.num_cached_tokens for first in worker.said("first_tokens")] == [0, 32]


@in_virtual_time
async def test_the_first_token_does_not_wait_for_the_transfer() -> None:
    async with prefill_worker() as worker:
        worker.decode.has_starts = False
        worker.start(request())
        await pass_time(5 * STEP_S)
        assert len(worker.said("first_tokens")) == 1
        assert worker.said("handed_off") == []
        assert worker.num_referenced == 3
        worker.decode.say(started=[1])
        await settle()
        assert len(worker.said("handed_off")) == 1


@pytest.mark.parametrize(
    "candidates",
    [(), (ME,), (ME, WorkerRef("decode-0", 22, "decode-0:1")), (WorkerRef("prefill-0", 10, "before my restart"),)],
)
@in_virtual_time
async def test_named_first_or_alone_it_decodes_in_place(candidates: tuple[WorkerRef, ...]) -> None:
    async with prefill_worker() as worker:
        worker.prefiller.start(PrefillStart(request(), candidates), worker.outbox)
        await pass_time(10 * STEP_S)
        assert [sequence.token_ids[-1] for sequence in worker.local] == [FIRST]
        last = take(worker.outbox)[-1]
        assert [first.token.token_id for first in last.first_tokens] == [FIRST]
        assert [handed.decode for handed in last.handed_off] == [ME]
        assert worker.decode.num_streams == 0


@in_virtual_time
async def test_itself_among_others_is_no_place_to_hand_over_to() -> None:
    async with prefill_worker() as worker:
        worker.start(request(), worker.decode.ref, ME)
        await pass_time(10 * STEP_S)
        assert [handed.decode for handed in worker.said("handed_off")] == [worker.decode.ref]


@pytest.mark.parametrize("is_remote", [True, False])
@in_virtual_time
async def test_a_first_token_that_is_also_the_last_is_handed_to_nobody(is_remote: bool) -> None:
    async with prefill_worker() as worker:
        worker.start(request(sampling=SamplingParams(max_tokens=1)), worker.decode.ref if is_remote else ME)
        await pass_time(10 * STEP_S)
        [first] = worker.said("first_tokens")
        assert first.finish_reason is FinishReason.LENGTH
        assert worker.said("handed_off") == worker.said("failed") == []
        assert worker.decode.said("commits") == []
        assert worker.decode.said("released") == ([1] if is_remote else [])
        assert worker.local == []


# --- refusals ---


@in_virtual_time
async def test_refuses_at_once_and_says_when_there_is_room() -> None:
    async with prefill_worker(num_blocks=4) as worker:
        for handle in range(50):
            worker.start(request(handle))
        assert worker.said("accepted_handles") == [0]
        refused = worker.said("refused")
        assert [ended.handle for ended in refused] == list(range(1, 50))
        assert {type(ended.error) for ended in refused} == {BlocksExhausted}
        assert not any(events.has_capacity for events in worker.outbox._items)
        await pass_time(10 * STEP_S)
        assert sum(events.has_capacity for events in worker.outbox._items) == 1


@in_virtual_time
async def test_an_attempt_that_is_here_already_is_refused() -> None:
    async with prefill_worker() as worker:
        worker.start(request())
        worker.start(request())
        assert [type(ended.error) for ended in worker.said("refused")] == [StaleAttempt]
        await pass_time(10 * STEP_S)
        assert len(worker.said("first_tokens")) == 1


# --- early ends ---


@pytest.mark.parametrize("at_s", [0.0, 0.001, STEP_S, 1.5 * STEP_S, 2.5 * STEP_S, 3.5 * STEP_S, 10 * STEP_S])
@pytest.mark.parametrize("stuck", ["nothing", "grant", "push", "start"])
@in_virtual_time
async def test_cancelled_at_any_moment_it_leaves_nothing(at_s: float, stuck: str) -> None:
    async with prefill_worker() as worker:
        link = await worker.links.get(worker.decode.ref)
        worker.decode.has_grants = stuck != "grant"
        worker.decode.has_starts = stuck not in ("push", "start")
        worker.decode.channel.gate = asyncio.Event() if stuck == "push" else None
        worker.start(request())
        await pass_time(at_s)
        worker.prefiller.cancel(("gateway", 0))
        worker.prefiller.cancel(("gateway", 0))
        await pass_time(1.1 * STEP_S)  # the step in flight ends
        assert worker.num_referenced == 0
        assert worker.prefiller.num_tasks == 0
        reserved = {reserve.reservation_id for reserve in worker.decode.said("reserves")}
        started = {1} if worker.said("handed_off") else set()
        assert set(worker.decode.said("released")) == reserved - started
        assert link._starts == {}
        assert worker.said("failed") == []


@in_virtual_time
async def test_blocks_that_are_being_pushed_are_not_used_again_before() -> None:
    """Committed, still pushing, cancelled: were its blocks given to another prompt, that one's KV would arrive, check
    out, and be found by the next request with this prefix."""
    async with prefill_worker() as worker:
        await worker.links.get(worker.decode.ref)
        under_way = asyncio.Event()

        async def push_to_the_end(*_: object) -> None:
            try:
                await under_way.wait()
            except asyncio.CancelledError:
                await under_way.wait()
                raise

        worker.decode.channel.push = push_to_the_end  # type: ignore[assignment, method-assign]
        worker.decode.has_starts = False
        worker.start(request())
        await pass_time(5 * STEP_S)
        assert len(worker.decode.said("commits")) == 1
        worker.prefiller.cancel(("gateway", 0))
        await pass_time(STEP_S)
        assert worker.num_referenced == 3
        assert worker.decode.said("released") == []
        under_way.set()
        await settle()
        assert worker.num_referenced == 0
        assert worker.decode.said("released") == [1]


@in_virtual_time
async def test_a_hand_over_that_fails_is_told_and_leaves_nothing() -> None:
    async with prefill_worker() as worker:
        worker.decode.refusals = [BlocksExhausted("Full.")] * 1000
        worker.start(request())
        await pass_time(20.0)
        [ended] = worker.said("failed")
        assert (ended.handle, type(ended.error)) == (0, BlocksExhausted)
        assert worker.num_referenced == 0


@in_virtual_time
async def test_the_end_of_a_gateways_stream_ends_what_it_started() -> None:
    async with prefill_worker() as worker:
        worker.decode.has_starts = False
        for handle in range(3):
            worker.start(request(handle))
        newer: Outbox[PrefillEvents] = Outbox()
        worker.prefiller.start(PrefillStart(request(9), (ME,)), newer)
        await pass_time(3.5 * STEP_S)
        worker.prefiller.cancel_gateway("gateway", worker.outbox)
        assert worker.prefiller.num_sequences == 1
        await pass_time(20 * STEP_S)
        assert len(worker.local) == 1


@pytest.mark.parametrize("at_s", [0.0, 1.5 * STEP_S, 8 * STEP_S])
@in_virtual_time
async def test_a_worker_that_goes_hands_everything_back(at_s: float) -> None:
    async with prefill_worker() as worker:
        worker.decode.has_starts = False
        for handle in range(2):
            worker.start(request(handle))
        await pass_time(at_s)
        error: PenstockError = Draining("Going away.")
        worker.prefiller.fail_all(error)
        assert [(ended.handle, ended.error) for ended in worker.said("failed")] == [(0, error), (1, error)]
        await worker.prefiller.close()
        await pass_time(1.1 * STEP_S)  # the step in flight ends
        assert worker.num_referenced == 0


@in_virtual_time
async def test_closing_waits_for_the_tasks() -> None:
    async with prefill_worker() as worker:
        worker.decode.has_grants = False
        worker.start(request())
        await pass_time(STEP_S / 2)
        assert worker.prefiller.num_tasks == 1
        await worker.prefiller.close()
        await pass_time(STEP_S)
        assert worker.said("failed") == []
