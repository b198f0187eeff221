"""An engine loop on the mock runner in virtual time, and an owner that remembers what it is told."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from penstock.core.blocks import hash_blocks
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.policies.batching import BatchLimits
from penstock.core.schedule import Schedule
from penstock.core.sequences import TokenEvent
from penstock.core.types import FinishReason, ModelInfo, Request, SamplingParams, ScheduledSequence
from penstock.core.types import Sequence as EngineSequence
from penstock.engine.loop import EngineLoop
from penstock.engine.mock_costs import MockCosts
from penstock.engine.mock_runner import MASK, MULTIPLIER, MockRunner, mock_layout
from penstock.worker.step_meter import StepMeter
from tests.unit.virtual_time import now_s, pass_time

VOCAB = 1000
EOS = 2
STEP_S = 0.01
COSTS = MockCosts(prefill_s=STEP_S, prefill_s_per_token=0.0, decode_s=STEP_S)


def expected_tokens(prompt: Sequence[int], num_tokens: int) -> list[int]:
    """What the mock says after a prompt, written down a second time."""
    state = 0
    token_ids: list[int] = []
    context = list(prompt)
    while len(token_ids) < num_tokens:
        for token_id in context:
            state = (state * MULTIPLIER + token_id + 1) & MASK
        drawn = ((((state ^ (state >> 31)) * 0x9E3779B97F4A7C15) & MASK) >> 33) % VOCAB
        context = [drawn + (drawn == EOS)]
        token_ids += context
    return token_ids


def make_request(prompt: Sequence[int], max_tokens: int = 8, handle: int = 0, **fields: Any) -> Request:
    sampling = fields.pop("sampling", SamplingParams(max_tokens=max_tokens))
    known = [*prompt, *fields.get("output_token_ids", ())]
    return Request(f"r{handle}", 0, "gateway", handle, prompt, sampling, block_hashes=hash_blocks(known), **fields)


class FakeOwner:
    """Knows every token that its sequences gained."""

    def __init__(self) -> None:
        self.tokens: dict[EngineSequence, list[int]] = defaultdict(list)
        self.reasons: dict[EngineSequence, FinishReason] = {}
        self.started: list[EngineSequence] = []
        self.layers: list[tuple[EngineSequence, range, range]] = []

    def on_start(self, sequence: EngineSequence) -> None:
        self.started.append(sequence)

    def on_layers(self, items: Sequence[ScheduledSequence], layers: range) -> None:
        self.layers += [(item.sequence, range(item.start, item.end), layers) for item in items]

    def on_tokens(self, step: int, events: Sequence[TokenEvent]) -> None:
        for event in events:
            self.tokens[event.sequence].append(event.token.token_id)
            if event.reason:
                self.reasons[event.sequence] = event.reason


def make_engine(
    num_blocks: int = 64, max_tokens: int = 64, max_sequences: int = 16, max_context_tokens: int = 10_000
) -> EngineLoop:
    info = ModelInfo("mock", "1", VOCAB, max_context_tokens, frozenset({EOS}))
    runner = StepMeter(MockRunner(info, mock_layout(num_blocks, 16), COSTS, sleep=pass_time))
    return EngineLoop(
        runner,
        Schedule(BatchLimits(max_tokens, max_sequences)),
        AdmissionLimits(max_sequences, max_pending_tokens=10_000),
        now_s,
    )


@asynccontextmanager
async def running(engine: EngineLoop) -> AsyncIterator[EngineLoop]:
    """Run its steps meanwhile; at the end not one block may be held."""
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        engine.runner.close()
    assert engine.book.pool.num_referenced == 0, "blocks leaked"
    assert not engine.book.waiting
    assert not engine.book.running
    assert not engine.book.preempted
