"""Prompts that stop between two layers for a more urgent one, and go on where they stopped."""

import asyncio
from pathlib import Path

import pytest

from penstock.core.types import Batch, SampledToken, Sequence
from penstock.core.types import ScheduledSequence as Scheduled
from penstock.engine import model_runner
from penstock.engine.options import EngineOptions
from penstock.engine.runner import LayerGate
from penstock.engine.tiny.checkpoint import make_tiny_checkpoint
from penstock.worker.step_meter import StepMeter
from tests.unit.engine.mock_engine import STEP_S, FakeOwner, expected_tokens, make_engine, make_request, running
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time

LONG, SHORT = list(range(1000)), list(range(5000, 5040))


@in_virtual_time
async def test_an_urgent_prompt_interrupts_a_long_one_and_both_say_what_they_say_alone() -> None:
    async with running(make_engine(num_blocks=128, max_tokens=2048)) as engine:
        owner = FakeOwner()
        long = engine.book.accept(make_request(LONG, 1), owner, is_prefill_only=True)
        await pass_time(0.1 * STEP_S)  # a mock has two layers: the first is half over at a quarter of the step
        deadline_s = now_s() + 3 * STEP_S
        short = engine.book.accept(
            make_request(SHORT, 1, 1, first_token_deadline_s=deadline_s), owner, is_prefill_only=True
        )
        await pass_time(1.6 * STEP_S)
        assert owner.tokens == {short: expected_tokens(SHORT, 1)}
        await pass_time(1.0 * STEP_S)
        assert owner.tokens[long] == expected_tokens(LONG, 1)
        assert engine.totals.num_yields == 1
        assert [sequence for sequence, _, layers in owner.layers if layers == range(1, 2)] == [short, long]


@in_virtual_time
async def test_a_paused_step_is_measured_as_one_of_all_its_parts() -> None:
    async with running(make_engine(num_blocks=128, max_tokens=2048)) as engine:
        owner, meter = FakeOwner(), engine.runner
        assert isinstance(meter, StepMeter)
        engine.book.accept(make_request(LONG, 1), owner, is_prefill_only=True)
        await pass_time(0.1 * STEP_S)
        urgent = make_request(SHORT, 1, 1, first_token_deadline_s=now_s() + 3 * STEP_S)
        engine.book.accept(urgent, owner, is_prefill_only=True)
        await pass_time(5 * STEP_S)
        assert engine.totals.num_yields == 1
        steps = meter.step_s["prefill"]
        assert steps.count == 2
        assert steps.sum == pytest.approx(engine.totals.busy_s)


@in_virtual_time
async def test_a_prompt_that_is_cancelled_while_it_is_paused_leaves_nothing() -> None:
    async with running(make_engine(num_blocks=128, max_tokens=2048)) as engine:
        owner = FakeOwner()
        long = engine.book.accept(make_request(LONG, 1), owner, is_prefill_only=True)
        await pass_time(0.1 * STEP_S)
        urgent = make_request(SHORT, 1, 1, first_token_deadline_s=now_s() + 3 * STEP_S)
        short = engine.book.accept(urgent, owner, is_prefill_only=True)
        await pass_time(0.8 * STEP_S)
        engine.book.release(long)
        await pass_time(2 * STEP_S)
        assert list(owner.tokens) == [short]
        assert engine.book.pool.num_referenced == 0


class ClosedGate(LayerGate):
    """Stops a pass after every layer."""

    @property
    def is_pause_wanted(self) -> bool:
        return True

    @is_pause_wanted.setter
    def is_pause_wanted(self, value: bool) -> None:
        """It stays as it is."""


def test_a_pass_of_the_model_that_stops_after_every_layer_samples_the_same_token(tmp_path: Path) -> None:
    runner = model_runner.build(EngineOptions(make_tiny_checkpoint(tmp_path), device="cpu", num_blocks=16))
    num_layers = runner.kv.layout.num_layers
    try:
        whole, num_stops, _ = asyncio.run(_first_token(runner, LayerGate()))
        assert num_stops == 0
        paused, num_stops, reported = asyncio.run(_first_token(runner, ClosedGate()))
    finally:
        runner.close()
    assert paused == whole
    assert num_stops == num_layers - 1
    assert reported == list(range(num_layers))


async def _first_token(runner: model_runner.ModelRunner, gate: LayerGate) -> tuple[SampledToken | None, int, list[int]]:
    """Of one prompt; how many stops there were on the way, and which layers were reported in turn.

    At each stop another prompt of the same length runs, so that nothing of the first may lie where the second writes.
    """
    batch, other = _batch(range(40), [3, 1, 2]), _batch(range(100, 140), [6, 7, 8])
    num_stops, reported = 0, list[int]()
    while not (output := await runner.execute(batch, reported.extend, gate)).tokens:
        await runner.execute(other)
        num_stops += 1
    return output.tokens[0], num_stops, reported


def _batch(prompt: range, block_ids: list[int]) -> Batch:
    sequence = Sequence(make_request(prompt, 1), list(prompt), 0.0, block_ids=block_ids)
    return Batch(1, (Scheduled(sequence, 0, len(prompt)),))
