"""The step loop of a worker: plan a batch, run it, tell the owners of its sequences what came of it.

Life of a request: prefill (step 4) and decode (step 8) both pass here. One loop serves every language role, so that a
flip changes nothing but what is routed here, and a mixed worker runs chunks and decodes in one batch.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.blocks import BlockPool
from penstock.core.measured_costs import MeasuredCosts
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.policies.batching import BatchLimits, plan_batch
from penstock.core.sequences import SequenceBook, SequenceOwner, TokenEvent
from penstock.core.types import Batch, ScheduledSequence, StepOutput
from penstock.engine.finish import finish_reason
from penstock.engine.runner import Runner


@dataclass(slots=True)
class EngineTotals:
    """What the loop has done since it began."""

    num_steps: int = 0
    num_prompt_tokens: int = 0  # computed, not those found in the prefix cache
    num_sampled_tokens: int = 0
    num_looked_up_tokens: int = 0
    num_cached_tokens: int = 0
    num_preemptions: int = 0


class EngineLoop:
    """Runs the batches of one worker. Everything but the forward pass happens on the event loop."""

    def __init__(
        self, runner: Runner, batch_limits: BatchLimits, admission_limits: AdmissionLimits, now_s: Callable[[], float]
    ) -> None:
        self.runner = runner
        self.costs = MeasuredCosts()
        self.totals = EngineTotals()
        layout = runner.kv.layout
        self.book = SequenceBook(BlockPool(layout.num_blocks, layout.block_size), admission_limits, now_s)
        self._limits = batch_limits
        self._now_s = now_s
        # a sequence that alone outgrows the pool could neither run nor make room
        self._max_context_tokens = min(runner.info.max_context_tokens, layout.num_blocks * layout.block_size)
        self._has_work = asyncio.Event()
        self.book.on_work = self._has_work.set
        self._last_decode_s: float | None = None

    async def run(self) -> None:
        """Run steps for ever. A device failure is raised: the process ends and gateways resume its work elsewhere."""
        while True:
            await self._has_work.wait()
            batch = self._next_batch()
            if batch is None:
                self._has_work.clear()
                self._last_decode_s = None
                continue
            output = await self.runner.execute(batch, self._layers_reporter(batch))
            self._finish_step(batch, output)

    def _next_batch(self) -> Batch | None:
        book = self.book
        book.readmit()
        book.match_prefixes(self._limits.max_tokens)
        plan = plan_batch(book.running, book.waiting, self._limits, book.pool.num_free, book.pool.block_size)
        while plan.preempted:  # blocks they shared did not come free: plan again with those that did
            for sequence in plan.preempted:
                book.preempt(sequence)
            self.totals.num_preemptions += len(plan.preempted)
            plan = plan_batch(book.running, (), self._limits, book.pool.num_free, book.pool.block_size)
        if not plan.items:
            return None
        starting = [item.sequence for item in plan.items if item.sequence in book.waiting]
        book.begin_step(plan.items)
        for sequence in starting:
            self.totals.num_looked_up_tokens += sequence.num_tokens
            self.totals.num_cached_tokens += sequence.num_cached_tokens
            book.owners[sequence].on_start(sequence)
        self.totals.num_steps += 1
        return Batch(self.totals.num_steps, plan.items)

    def _layers_reporter(self, batch: Batch) -> Callable[[range], None] | None:
        """Tell owners of sequences that will be handed over, and nobody when there are none."""
        owned: dict[SequenceOwner, list[ScheduledSequence]] = defaultdict(list)
        for item in batch.items:
            if item.sequence.is_prefill_only and not item.sequence.is_cancelled:
                owned[self.book.owners[item.sequence]].append(item)
        if not owned:
            return None

        def report(layers: range) -> None:
            for owner, items in owned.items():
                owner.on_layers(items, layers)

        return report

    def _finish_step(self, batch: Batch, output: StepOutput) -> None:
        self._learn(batch, output)
        events: dict[SequenceOwner, list[TokenEvent]] = defaultdict(list)
        for item, token in zip(batch.items, output.tokens, strict=True):
            sequence = item.sequence
            if sequence.is_cancelled:
                continue
            sequence.num_computed_tokens = item.end
            self.book.enter_full_blocks(sequence)
            if token is None:
                continue
            sequence.token_ids.append(token.token_id)
            reason = finish_reason(sequence, self.runner.info.eos_token_ids, self._max_context_tokens)
            events[self.book.owners[sequence]].append(TokenEvent(sequence, token, reason))
            if reason:
                self.book.release(sequence)
            elif sequence.is_prefill_only:
                del self.book.running[sequence]
        self.book.end_step()
        for owner, gained in events.items():
            owner.on_tokens(batch.step, gained)

    def _learn(self, batch: Batch, output: StepOutput) -> None:
        num_decodes = batch.num_decodes
        self.totals.num_prompt_tokens += batch.num_tokens - num_decodes
        self.totals.num_sampled_tokens += sum(token is not None for token in output.tokens)
        if num_decodes < len(batch.items):
            self.costs.add_prefill(batch.num_tokens, output.duration_s)
        now_s = self._now_s()
        if num_decodes and self._last_decode_s is not None:
            self.costs.add_decode(now_s - self._last_decode_s)
        self._last_decode_s = now_s if num_decodes else None
