"""The step loop on the mock engine, whose tokens are wrong as soon as one slot of KV is."""

import pytest

from penstock.core.types import FinishReason
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
