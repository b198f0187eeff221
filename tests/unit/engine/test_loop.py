"""The step loop on the mock engine, whose tokens are wrong as soon as one slot of KV is."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import Refused
from penstock.core.types import FinishReason, SamplingParams
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


@pytest.mark.parametrize("num_prompt_tokens", [1, 15, 16, 17, 64, 65, 200])
@pytest.mark.parametrize("max_tokens", [1, 7, 16, 64, 4096])
@in_virtual_time
async def test_chunks_change_no_token(num_prompt_tokens: int, max_tokens: int) -> None:
    prompt = list(range(num_prompt_tokens))
    async with running(make_engine(max_tokens=max_tokens)) as engine:
        owner = FakeOwner()
        sequence = engine.book.accept(make_request(prompt, 20), owner, is_prefill_only=False)
        await pass_time(300 * STEP_S)
        assert owner.tokens[sequence] == expected_tokens(prompt, 20)
        assert owner.reasons[sequence] is FinishReason.LENGTH
        assert engine.totals.num_sampled_tokens == 20


@in_virtual_time
async def test_many_at_once_say_what_each_says_alone() -> None:
    async with running(make_engine(max_tokens=48)) as engine:
        owner = FakeOwner()
        prompts = [list(range(at, at + 10 + 7 * at)) for at in range(8)]
        sequences = [
            engine.book.accept(make_request(prompt, 12, at), owner, is_prefill_only=False)
            for at, prompt in enumerate(prompts)
        ]
        await pass_time(100 * STEP_S)
        assert [owner.tokens[s] for s in sequences] == [expected_tokens(prompt, 12) for prompt in prompts]


@in_virtual_time
async def test_a_prefix_hit_gives_the_same_tokens_and_is_counted() -> None:
    prompt = list(range(100))
    async with running(make_engine()) as engine:
        owner = FakeOwner()
        for handle in range(2):
            engine.book.accept(make_request(prompt, 20, handle), owner, is_prefill_only=False)
            await pass_time(100 * STEP_S)
        first, second = owner.tokens
        assert owner.tokens[first] == owner.tokens[second] == expected_tokens(prompt, 20)
        assert (first.num_cached_tokens, second.num_cached_tokens) == (0, 96)
        assert engine.totals.num_cached_tokens == 96
        assert engine.totals.num_looked_up_tokens == 200


@in_virtual_time
async def test_generated_tokens_are_a_prefix_too() -> None:
    prompt = list(range(20))
    async with running(make_engine()) as engine:
        owner = FakeOwner()
        engine.book.accept(make_request(prompt, 40), owner, is_prefill_only=False)
        await pass_time(100 * STEP_S)
        longer = prompt + expected_tokens(prompt, 40)
        sequence = engine.book.accept(make_request(longer, 5, 1), owner, is_prefill_only=False)
        await pass_time(100 * STEP_S)
        assert sequence.num_cached_tokens == 48  # of 59 with KV
        assert owner.tokens[sequence] == expected_tokens(longer, 5)


@in_virtual_time
async def test_a_prompt_that_is_wholly_cached_still_runs_its_last_token() -> None:
    prompt = list(range(64))
    async with running(make_engine()) as engine:
        owner = FakeOwner()
        for handle in range(2):
            sequence = engine.book.accept(make_request(prompt, 3, handle), owner, is_prefill_only=False)
            await pass_time(100 * STEP_S)
        assert sequence.num_cached_tokens == 48
        assert owner.tokens[sequence] == expected_tokens(prompt, 3)


@in_virtual_time
async def test_a_resumed_request_goes_on_where_it_was() -> None:
    prompt = list(range(30))
    said = expected_tokens(prompt, 10)
    async with running(make_engine()) as engine:
        owner = FakeOwner()
        request = make_request(prompt, 10, output_token_ids=said[:4])
        sequence = engine.book.accept(request, owner, is_prefill_only=False)
        await pass_time(100 * STEP_S)
        assert owner.tokens[sequence] == said[4:]


@in_virtual_time
async def test_preemption_changes_no_token() -> None:
    """Four sequences that grow to 8 blocks each share 14."""
    async with running(make_engine(num_blocks=14, max_tokens=4096)) as engine:
        owner = FakeOwner()
        prompts = [list(range(at * 100, at * 100 + 20)) for at in range(4)]
        sequences = [
            engine.book.accept(make_request(prompt, 100, at), owner, is_prefill_only=False)
            for at, prompt in enumerate(prompts)
        ]
        await pass_time(2000 * STEP_S)
        assert engine.totals.num_preemptions > 0
        for sequence, prompt in zip(sequences, prompts, strict=True):
            assert owner.tokens[sequence] == expected_tokens(prompt, 100)


@in_virtual_time
async def test_blocks_that_a_victim_shares_are_not_counted_as_given_back() -> None:
    """Four sequences of a common prefix grow in step: each victim holds six blocks and frees two."""
    prefix = list(range(64))
    async with running(make_engine(num_blocks=24, max_tokens=4096)) as engine:
        owner = FakeOwner()
        engine.book.accept(make_request(prefix, 2), owner, is_prefill_only=False)
        await pass_time(10 * STEP_S)
        prompts = [[*prefix, 500 + at] for at in range(4)]
        sequences = [
            engine.book.accept(make_request(prompt, 60, at + 1), owner, is_prefill_only=False)
            for at, prompt in enumerate(prompts)
        ]
        await pass_time(2 * STEP_S)
        held = engine.book.accept(make_request(range(1000, 1190), 9, 9), owner, is_prefill_only=True)
        await pass_time(2000 * STEP_S)
        assert engine.totals.num_preemptions > 1
        for sequence, prompt in zip(sequences, prompts, strict=True):
            assert owner.tokens[sequence] == expected_tokens(prompt, 60)
        engine.book.release(held)


@in_virtual_time
async def test_a_preempted_sequence_holds_no_block_that_the_oldest_needs() -> None:
    async with running(make_engine(num_blocks=6, max_tokens=4096)) as engine:
        owner = FakeOwner()
        old, young = ([*range(at * 100, at * 100 + 30)] for at in range(2))
        first = engine.book.accept(make_request(old, 60), owner, is_prefill_only=False)
        second = engine.book.accept(make_request(young, 60, 1), owner, is_prefill_only=False)
        await pass_time(1000 * STEP_S)
        assert engine.totals.num_preemptions == 1
        assert owner.tokens[first] == expected_tokens(old, 60)
        assert owner.tokens[second] == expected_tokens(young, 60)


@in_virtual_time
async def test_newcomers_do_not_take_the_blocks_of_a_preempted_sequence() -> None:
    async with running(make_engine(num_blocks=10, max_tokens=4096)) as engine:
        owner = FakeOwner()
        prompts = [list(range(at * 100, at * 100 + 60)) for at in range(2)]
        sequences = [
            engine.book.accept(make_request(prompt, 80, at), owner, is_prefill_only=False)
            for at, prompt in enumerate(prompts)
        ]
        while not engine.book.preempted:
            await pass_time(STEP_S)
        assert engine.book.load.num_free_blocks == 0
        assert engine.book.num_waiting == 1
        await pass_time(1000 * STEP_S)
        for sequence, prompt in zip(sequences, prompts, strict=True):
            assert owner.tokens[sequence] == expected_tokens(prompt, 80)


# --- ends ---


@pytest.mark.parametrize("at_s", [0.0, 0.001, STEP_S, 1.5 * STEP_S, 3.5 * STEP_S, 10.5 * STEP_S])
@pytest.mark.parametrize("is_prefill_only", [False, True])
@in_virtual_time
async def test_a_cancelled_sequence_gives_its_blocks_back(at_s: float, is_prefill_only: bool) -> None:
    """Before it starts, between and in its chunks, while it decodes, while it is held."""
    async with running(make_engine(max_tokens=32)) as engine:
        owner = FakeOwner()
        bystander = engine.book.accept(make_request([5] * 20, 30, 1), owner, is_prefill_only=False)
        sequence = engine.book.accept(make_request(range(90), 50), owner, is_prefill_only=is_prefill_only)
        await pass_time(at_s)
        engine.book.release(sequence)
        num_said = len(owner.tokens[sequence])
        await pass_time(2 * STEP_S)  # a step of prompt and decodes takes as long
        assert engine.book.pool.num_referenced == len(bystander.block_ids)
        await pass_time(100 * STEP_S)
        assert len(owner.tokens[sequence]) == num_said, "it went on"
        assert owner.tokens[bystander] == expected_tokens([5] * 20, 30)


@in_virtual_time
async def test_blocks_of_a_step_under_way_are_free_only_after_it() -> None:
    async with running(make_engine()) as engine:
        sequence = engine.book.accept(make_request(range(40), 5), FakeOwner(), is_prefill_only=False)
        await pass_time(STEP_S / 2)
        engine.book.release(sequence)
        assert engine.book.pool.num_referenced == 3
        await pass_time(STEP_S)
        assert engine.book.pool.num_referenced == 0


@in_virtual_time
async def test_a_stopped_sequence_keeps_its_blocks_until_it_is_released() -> None:
    async with running(make_engine()) as engine:
        sequence = engine.book.accept(make_request(range(40), 5), FakeOwner(), is_prefill_only=True)
        await pass_time(STEP_S / 2)
        engine.book.stop(sequence)
        await pass_time(10 * STEP_S)
        assert engine.book.pool.num_referenced == 3
        assert not engine.book.running
        engine.book.release(sequence)


@in_virtual_time
async def test_a_prefill_only_sequence_is_held_after_its_first_token() -> None:
    prompt = list(range(40))
    async with running(make_engine()) as engine:
        owner = FakeOwner()
        sequence = engine.book.accept(make_request(prompt, 50), owner, is_prefill_only=True)
        await pass_time(50 * STEP_S)
        assert owner.tokens[sequence] == expected_tokens(prompt, 1)
        assert engine.book.pool.num_referenced == 3
        assert engine.book.load.num_sequences == 1
        assert not engine.book.running
        engine.book.release(sequence)


@in_virtual_time
async def test_only_what_will_be_handed_over_hears_of_layers() -> None:
    async with running(make_engine(max_tokens=24)) as engine:
        owner = FakeOwner()
        engine.book.accept(make_request(range(10), 5, 1), owner, is_prefill_only=False)
        sequence = engine.book.accept(make_request(range(40), 5), owner, is_prefill_only=True)
        await pass_time(50 * STEP_S)
        chunks = [range(14), range(14, 37), range(37, 40)]  # a decode leaves 23 tokens of the second step
        assert owner.layers == [(sequence, chunk, range(n, n + 1)) for chunk in chunks for n in range(2)]
        engine.book.release(sequence)


@in_virtual_time
async def test_held_sequences_are_not_preempted() -> None:
    async with running(make_engine(num_blocks=6)) as engine:
        owner = FakeOwner()
        held = engine.book.accept(make_request(range(40), 5), owner, is_prefill_only=True)
        sequence = engine.book.accept(make_request(range(100, 130), 60, 1), owner, is_prefill_only=False)
        await pass_time(100 * STEP_S)
        assert len(held.block_ids) == 3
        assert sequence in engine.book.running  # it found no block and waits for one
        num_said = len(owner.tokens[sequence])
        engine.book.release(held)
        await pass_time(100 * STEP_S)
        assert 0 < num_said < 60
        assert owner.tokens[sequence] == expected_tokens(range(100, 130), 60)


@in_virtual_time
async def test_the_context_ends_a_sequence() -> None:
    async with running(make_engine(max_context_tokens=30)) as engine:
        owner = FakeOwner()
        sequence = engine.book.accept(make_request(range(20), 500), owner, is_prefill_only=False)
        await pass_time(100 * STEP_S)
        assert owner.tokens[sequence] == expected_tokens(range(20), 10)
        assert owner.reasons[sequence] is FinishReason.LENGTH


@in_virtual_time
async def test_a_sequence_may_fill_the_whole_pool() -> None:
    async with running(make_engine(num_blocks=3)) as engine:
        owner = FakeOwner()
        sequence = engine.book.accept(make_request(range(20), 500), owner, is_prefill_only=False)
        await pass_time(100 * STEP_S)
        assert owner.tokens[sequence] == expected_tokens(range(20), 28)


@in_virtual_time
async def test_a_stop_token_ends_a_sequence() -> None:
    prompt = list(range(20))
    said = expected_tokens(prompt, 10)
    async with running(make_engine()) as engine:
        owner = FakeOwner()
        sampling = SamplingParams(max_tokens=10, stop_token_ids=(said[4],))
        sequence = engine.book.accept(make_request(prompt, sampling=sampling), owner, is_prefill_only=False)
        await pass_time(100 * STEP_S)
        assert owner.tokens[sequence] == said[: said.index(said[4]) + 1]
        assert owner.reasons[sequence] is FinishReason.STOP


@in_virtual_time
async def test_a_failing_device_ends_the_loop() -> None:
    engine = make_engine()

    async def fail(*_: object) -> None:
        raise RuntimeError("device lost")

    engine.runner.execute = fail  # type: ignore[assignment, method-assign]
    engine.book.accept(make_request(range(20)), FakeOwner(), is_prefill_only=False)
    with pytest.raises(RuntimeError, match="device lost"):
        await engine.run()
    engine.runner.close()


@in_virtual_time
async def test_costs_are_learnt() -> None:
    async with running(make_engine()) as engine:
        engine.book.accept(make_request(range(20), 10), FakeOwner(), is_prefill_only=False)
        await pass_time(100 * STEP_S)
        assert engine.costs.token_interval_s == pytest.approx(STEP_S)
        assert engine.costs.prefill_s_per_token == pytest.approx(STEP_S / 20)


@in_virtual_time
async def test_a_wait_in_between_is_no_token_interval() -> None:
    async with running(make_engine()) as engine:
        for handle in range(2):
            engine.book.accept(make_request(range(20), 3, handle), FakeOwner(), is_prefill_only=False)
            await pass_time(1000 * STEP_S)
        assert engine.costs.token_interval_s == pytest.approx(STEP_S)


@in_virtual_time
async def test_waiting_until_empty_ends_with_the_last_sequence() -> None:
    async with running(make_engine()) as engine:
        owner = FakeOwner()
        engine.book.accept(make_request(range(20), 5), owner, is_prefill_only=False)
        engine.book.accept(make_request(range(30, 50), 9, 1), owner, is_prefill_only=False)
        waiting = asyncio.create_task(engine.book.wait_until_empty())
        await pass_time(6.5 * STEP_S)
        assert not waiting.done()
        await pass_time(10 * STEP_S)
        assert waiting.done()
        await engine.book.wait_until_empty()


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
