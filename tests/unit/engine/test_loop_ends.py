"""How sequences leave the step loop, cancelled, held, finished or failed: their blocks are free, and not too early."""

import asyncio

import pytest

from penstock.core.types import FinishReason, SamplingParams
from penstock.engine.drain import wait_until_empty
from tests.unit.engine.mock_engine import (
    STEP_S,
    FakeOwner,
    expected_tokens,
    make_engine,
    make_request,
    running,
)
from tests.unit.virtual_time import in_virtual_time, pass_time


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
        waiting = asyncio.create_task(wait_until_empty(engine.book))
        await pass_time(6.5 * STEP_S)
        assert not waiting.done()
        await pass_time(10 * STEP_S)
        assert waiting.done()
        await wait_until_empty(engine.book)
