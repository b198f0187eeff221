"""The step loop under random arrivals and cancellations: no block is lost and no token wrong."""

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import Refused
from penstock.core.types import Sequence as EngineSequence
from penstock.engine.loop import EngineLoop
from tests.unit.engine.mock_engine import (
    STEP_S,
    FakeOwner,
    expected_tokens,
    make_engine,
    make_request,
    running,
)
from tests.unit.virtual_time import in_virtual_time, pass_time


@dataclass(frozen=True)
class Arrival:
    """One request of a random run; times are in half steps. Requests of one family share a prefix."""

    begin: int
    num_prompt: int
    num_output: int
    family: int
    cancel: int | None
    is_prefill_only: bool

    @property
    def prompt(self) -> list[int]:
        return list(range(self.family * 100, self.family * 100 + self.num_prompt))


ARRIVAL = st.builds(
    Arrival,
    st.integers(0, 60),
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(0, 2),
    st.one_of(st.none(), st.integers(0, 40)),
    st.booleans(),
)


async def accept(engine: EngineLoop, owner: FakeOwner, handle: int, arrival: Arrival) -> EngineSequence:
    """Ask until it is taken, as a gateway does."""
    request = make_request(arrival.prompt, arrival.num_output, handle)
    while True:
        try:
            return engine.book.accept(request, owner, is_prefill_only=arrival.is_prefill_only)
        except Refused:
            await pass_time(STEP_S)


async def live(engine: EngineLoop, owner: FakeOwner, handle: int, arrival: Arrival) -> None:
    """One request to its end, or to its cancellation, or to its hand-over."""
    await pass_time(arrival.begin * STEP_S / 2)
    sequence = await accept(engine, owner, handle, arrival)
    if arrival.cancel is not None:
        await pass_time(arrival.cancel * STEP_S / 2)
        engine.book.release(sequence)
    while sequence in engine.book.owners:
        await pass_time(STEP_S)
        if arrival.is_prefill_only and sequence in owner.tokens:
            engine.book.release(sequence)
    said, expected = owner.tokens[sequence], expected_tokens(arrival.prompt, arrival.num_output)
    assert said == expected[: len(said)]
    if arrival.cancel is None and not arrival.is_prefill_only:
        num_fit = engine.book.pool.num_blocks * 16 - arrival.num_prompt
        assert len(said) == min(arrival.num_output, num_fit)


@given(st.lists(ARRIVAL, min_size=1, max_size=10), st.integers(8, 24), st.integers(4, 80))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_whatever_comes_and_goes_no_block_is_lost_and_no_token_wrong(
    arrivals: list[Arrival], num_blocks: int, max_tokens: int
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        owner = FakeOwner()
        async with running(make_engine(num_blocks, max_tokens)) as engine:
            async with asyncio.timeout(10_000), asyncio.TaskGroup() as tasks:
                for handle, arrival in enumerate(arrivals):
                    tasks.create_task(live(engine, owner, handle, arrival))
            await pass_time(2 * STEP_S)

    scenario()
