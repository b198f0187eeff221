"""A prefill and a decode worker, whole but for their sockets: links and KV cross from hand to hand.

Their engines' tokens are wrong as soon as one slot of KV is, so whatever the timing, right tokens mean right KV.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.blocks import hash_blocks
from penstock.core.errors import UnknownReservation
from penstock.core.types import WorkerRef
from penstock.engine.loop import EngineLoop
from penstock.engine.mock_runner import MASK, MULTIPLIER
from penstock.prefill.handoff import HandoffLimits
from penstock.prefill.loop import Prefiller
from penstock.runtime.outbox import Outbox
from penstock.transfer.link_service import LinkService
from penstock.transfer.peer_links import PeerLinks
from penstock.wire.messages import LinkCalls, LinkEvents, LinkWelcome, PrefillEvents, PrefillStart, StepOutputs
from tests.unit.decode.decode_worker import PEER, DecodeWorker
from tests.unit.engine.mock_engine import STEP_S, expected_tokens, make_engine, make_request, running
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time

PREFILL = WorkerRef(*PEER, "prefill-0:1")
DECODE = WorkerRef("decode-0", 22, "decode-0:1")


class MemoryChannel:
    """Copies KV slot by slot, taking its time: what it reads last may have been written meanwhile."""

    transport = "memory"

    def __init__(self, source: EngineLoop, worker: DecodeWorker, push_s: float) -> None:
        self._source = source
        self._worker = worker
        self._push_s = push_s
        self._under_way: dict[int, set[asyncio.Task[None]]] = {}
        self._missing: dict[int, set[tuple[int, int]]] = {}
        worker.receiver.connected.add(PEER)

    async def push(  # noqa: PLR0917
        self,
        reservation_id: int,
        source: Sequence[int],
        destination: Sequence[int],
        first_token: int,
        layers: range,
        tokens: range,
        deadline_s: float,
    ) -> None:
        copy = asyncio.create_task(self._copy(reservation_id, (source, destination, first_token), layers, tokens))
        tasks = self._under_way.setdefault(reservation_id, set())
        tasks.add(copy)
        copy.add_done_callback(tasks.discard)
        try:
            await asyncio.shield(copy)
        except asyncio.CancelledError:
            await asyncio.wait([copy])
            copy.exception()
            raise

    async def _copy(self, reservation_id: int, blocks: tuple[Any, ...], layers: range, tokens: range) -> None:
        source, destination, first_token = list(blocks[0]), blocks[1], blocks[2]
        await pass_time(self._push_s)
        expected = self._worker.receiver.expected.get((PEER, reservation_id))
        if expected is None:
            raise UnknownReservation("Withdrawn.")
        assert (expected.first_token, list(expected.block_ids)) == (first_token, list(destination))
        theirs = np.frombuffer(self._worker.engine.runner.kv.view, np.uint64).reshape(2, 2, -1)
        mine = np.frombuffer(self._source.runner.kv.view, np.uint64).reshape(2, 2, -1)
        wanted = {(n, t) for n in range(2) for t in range(first_token, first_token + expected.num_tokens)}
        missing = self._missing.setdefault(reservation_id, wanted)
        for token in tokens:
            at = token - first_token
            into, of = destination[at // 16] * 16 + at % 16, source[token // 16] * 16 + token % 16
            theirs[layers.start : layers.stop, :, into] = mine[layers.start : layers.stop, :, of]
            missing -= {(layer, token) for layer in layers}
        if not missing:
            del self._worker.receiver.expected[PEER, reservation_id]
            asyncio.get_running_loop().call_soon(expected.on_complete)

    async def stop(self, reservation_id: int) -> None:
        if tasks := self._under_way.pop(reservation_id, None):
            await asyncio.wait(tasks)

    async def close(self) -> None:
        for reservation_id in list(self._under_way):
            await self.stop(reservation_id)
        self._worker.receiver.lose(PEER)


class Pair:
    def __init__(self, prefill: EngineLoop, decode: EngineLoop, push_s: float) -> None:
        self.prefill = prefill
        self.decode = DecodeWorker(decode)
        self.decode.receiver.connected.clear()
        self.push_s = push_s
        self.service = LinkService(self.decode.intake, DECODE.incarnation)
        self.service.welcome = LinkWelcome(DECODE, (), (), "r1")
        sender: Any = self
        self.links = PeerLinks(PEER, "r1", sender, self.open_link)
        self.prefiller = Prefiller(PREFILL, prefill.book, self.links, self.decode.decoder.start, HandoffLimits(), now_s)
        self.events: Outbox[PrefillEvents] = Outbox()
        self.steps: Outbox[StepOutputs] = self.decode.decoder.streams.open("gateway")
        self.breaks: list[asyncio.Event] = []

    async def connect(self, *_: Any) -> MemoryChannel:
        return MemoryChannel(self.prefill, self.decode, self.push_s)

    async def open_link(self, ref: WorkerRef, calls: AsyncIterator[LinkCalls]) -> AsyncIterator[LinkEvents]:
        """The decode worker's own handler; `break_link` ends it from outside."""
        context: Any = None
        broken = asyncio.Event()
        self.breaks.append(broken)
        handler = self.service.link(calls, context)
        news: Outbox[LinkEvents] = Outbox()

        async def serve() -> None:
            async for events in handler:
                news.put(events)

        serving = asyncio.create_task(serve())
        cutting = asyncio.create_task(broken.wait())
        cutting.add_done_callback(lambda _: news.close())
        try:
            async for batch in news.batches():
                for events in batch:
                    yield events
        finally:
            serving.cancel()
            cutting.cancel()
            await asyncio.wait([serving, cutting])
            await handler.aclose()  # type: ignore[attr-defined]

    def cancel(self, handle: int) -> None:
        """As a gateway does: on both streams."""
        self.prefiller.cancel(("gateway", handle))
        if not self.decode.decoder.cancel(("gateway", handle)):
            self.decode.intake.cancel(("gateway", handle))

    def tokens(self, handle: int) -> list[int]:
        """What a gateway would deliver: by position, whoever said it, and always the same."""
        by_position: dict[int, int] = {}
        for events in self.events._items:
            for first in events.first_tokens:
                if first.handle == handle:
                    by_position[0] = first.token.token_id
        for step in self.steps._items:
            for at, token_id, position in zip(step.handles, step.token_ids, step.positions, strict=True):
                if at == handle:
                    assert by_position.setdefault(position, token_id) == token_id
        assert sorted(by_position) == list(range(len(by_position)))
        return [by_position[position] for position in sorted(by_position)]

    def check_caches(self, prompts: list[list[int]]) -> None:
        """Every block that either worker would take for a prefix holds that prefix."""
        for engine in (self.prefill, self.decode.engine):
            slots = np.frombuffer(engine.runner.kv.view, np.uint64).reshape(4, -1)
            for prompt in prompts:
                state, states = 0, []
                for token_id in prompt:
                    state = (state * MULTIPLIER + token_id + 1) & MASK
                    states.append(state)
                block_ids = engine.book.pool.take_prefix(hash_blocks(prompt), len(prompt))
                for at, block_id in enumerate(block_ids):
                    held = slots[:, block_id * 16 : block_id * 16 + 16]
                    assert (held == np.array(states[at * 16 : at * 16 + 16], np.uint64)).all(), "a poisoned prefix"
                engine.book.pool.release(block_ids)


@asynccontextmanager
async def pair(prefill_blocks: int = 64, decode_blocks: int = 64, push_s: float = 0.003) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        prefill = await stack.enter_async_context(running(make_engine(prefill_blocks, 32)))
        decode = await stack.enter_async_context(running(make_engine(decode_blocks, 32)))
        two = Pair(prefill, decode, push_s)
        yield two
        await two.prefiller.close()
        await two.links.close()
        await pass_time(0.1)
        assert two.prefiller.num_tasks == two.prefiller.num_sequences == 0
        assert len(two.decode.intake.reservations) == two.decode.decoder.num_sequences == 0


@in_virtual_time
async def test_one_request_all_the_way() -> None:
    async with pair() as two:
        prompt = list(range(70))
        two.prefiller.start(PrefillStart(make_request(prompt, 20), (DECODE,)), two.events)
        await pass_time(100 * STEP_S)
        assert two.tokens(0) == expected_tokens(prompt, 20)


@in_virtual_time
async def test_a_link_that_breaks_in_the_middle_costs_nothing_but_time() -> None:
    for moment in range(1, 16):
        async with pair() as two:
            prompt = list(range(70))
            two.prefiller.start(PrefillStart(make_request(prompt, 20), (DECODE,)), two.events)
            await pass_time(moment * STEP_S / 3)
            for broken in two.breaks:
                broken.set()
            await pass_time(300 * STEP_S)
            assert two.tokens(0) == expected_tokens(prompt, 20)


class Story(NamedTuple):
    """One request; those of a family share a prefix."""

    begin: int  # half steps
    num_prompt: int
    num_output: int
    family: int
    cancel: int | None  # after so many quarters of a step

    @property
    def prompt(self) -> list[int]:
        return list(range(self.family * 1000, self.family * 1000 + self.num_prompt))


STORY = st.builds(
    Story,
    st.integers(0, 40),
    st.integers(1, 80),
    st.integers(1, 30),
    st.integers(0, 1),
    st.one_of(st.none(), st.integers(0, 60)),
)


async def live(two: Pair, handle: int, story: Story) -> None:
    await pass_time(story.begin * STEP_S / 2)
    request = make_request(story.prompt, story.num_output, handle)
    two.prefiller.start(PrefillStart(request, (DECODE,)), two.events)
    if story.cancel is not None:
        await pass_time(story.cancel * STEP_S / 4)
        two.cancel(handle)


async def cut(two: Pair, at_s: float) -> None:
    await pass_time(at_s)
    for broken in two.breaks:
        broken.set()


def check(two: Pair, handle: int, story: Story) -> None:
    """It said what it should, and all of it unless it was cancelled or given up."""
    said, expected = two.tokens(handle), expected_tokens(story.prompt, story.num_output)
    assert said == expected[: len(said)]
    failed = {end.handle for events in two.events._items for end in [*events.refused, *events.failed]}
    if story.cancel is None and handle not in failed:
        num_fit = two.decode.engine.book.pool.num_blocks * 16 - story.num_prompt
        assert len(said) in (story.num_output, num_fit)


@given(
    st.lists(STORY, min_size=1, max_size=8),
    st.integers(6, 16),
    st.integers(8, 24),
    st.sampled_from([0.001, 0.015, 0.1]),
    st.one_of(st.none(), st.integers(1, 100)),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_whatever_comes_goes_and_breaks_no_block_is_lost_and_no_token_wrong(
    stories: list[Story], prefill_blocks: int, decode_blocks: int, push_s: float, break_at: int | None
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        async with pair(prefill_blocks, decode_blocks, push_s) as two, asyncio.timeout(10_000):
            async with asyncio.TaskGroup() as tasks:
                if break_at is not None:
                    tasks.create_task(cut(two, break_at * STEP_S / 2))
                for handle, story in enumerate(stories):
                    tasks.create_task(live(two, handle, story))
            await pass_time(100.0)
            for handle, story in enumerate(stories):
                check(two, handle, story)
            two.check_caches([story.prompt + expected_tokens(story.prompt, 30) for story in stories])

    scenario()
