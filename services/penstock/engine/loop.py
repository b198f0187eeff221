"""The step loop of a worker: plan a batch, run it, tell the owners of its sequences what came of it.

Life of a request: prefill (step 4) and decode (step 8) both pass here. One loop serves every language role, so that a
flip changes nothing but what is routed here, and a mixed worker runs chunks and decodes in one batch. What a step runs,
and what is entered afterwards, is `core.step_planning`; here it is run.
"""

import asyncio
from collections.abc import Callable

from penstock.core.blocks import BlockPool
from penstock.core.embeddings import EmbeddingBook
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.schedule import Schedule
from penstock.core.sequences import SequenceBook
from penstock.core.step import Items, Step
from penstock.core.step_planning import StepPlanner, owned_by
from penstock.core.types import Batch, FinishReason, Sequence
from penstock.engine.finish import finish_reason
from penstock.engine.runner import LayerGate, LayersDone, Runner


class EngineLoop:
    """Runs the batches of one worker. Everything but the forward pass happens on the event loop."""

    def __init__(
        self, runner: Runner, schedule: Schedule, admission_limits: AdmissionLimits, now_s: Callable[[], float]
    ) -> None:
        self.runner = runner
        layout = runner.kv.layout
        self.book = SequenceBook(BlockPool(layout.num_blocks, layout.block_size), admission_limits, now_s)
        if runner.embeddings is not None:
            self.book.embeddings = EmbeddingBook(runner.embeddings.layout.num_blocks)
        self._num_layers = layout.num_layers
        # a sequence that alone outgrows the pool could neither run nor make room
        self._max_context_tokens = min(runner.info.max_context_tokens, layout.num_blocks * layout.block_size)
        self._planner = StepPlanner(self.book, schedule, self._finish_reason)
        self.costs = self._planner.accounts.costs
        self.totals = self._planner.accounts.totals
        self._running: tuple[Step, LayerGate] | None = None  # a step that may pause between two layers
        self._has_work = asyncio.Event()
        self.book.on_work = self._on_work

    async def run(self) -> None:
        """Run steps for ever. A device failure is raised: the process ends and gateways resume its work elsewhere."""
        while True:
            await self._has_work.wait()
            step = self._planner.begin()
            if step is None:
                self._has_work.clear()
            elif self._planner.can_pause(step):
                await self._run_pausable(step)
            else:
                output = await self.runner.execute(self._batch(step), self._layers_reporter(step.items))
                self._planner.finish(step, output.tokens, output.duration_s)

    async def _run_pausable(self, step: Step) -> None:
        gate = step.state if isinstance(step.state, LayerGate) else LayerGate()
        step.state, self._running = gate, (step, gate)
        output = await self.runner.execute(self._batch(step), self._layers_reporter(step.items), gate)
        self._running = None
        if gate.paused is None:
            self._planner.finish(step, output.tokens, output.duration_s)
        else:
            self._planner.pause(step, gate.num_layers_done / self._num_layers, output.duration_s)

    def _on_work(self) -> None:
        """Somebody came or left: the next step may be another one, and the running one may have to yield."""
        self._has_work.set()
        if self._running is not None:
            step, gate = self._running
            if self._planner.should_yield(step, gate.num_layers_done / self._num_layers):
                gate.is_pause_wanted = True

    def _batch(self, step: Step) -> Batch:
        return Batch(self.totals.num_steps + 1, step.items)

    def _layers_reporter(self, items: Items) -> LayersDone | None:
        """Tell owners of sequences that will be handed over, and nobody when there are none."""
        owned = owned_by(self.book, items)
        if not owned:
            return None

        def report(layers: range) -> None:
            for owner, owner_items in owned.items():
                owner.on_layers(owner_items, layers)

        return report

    def _finish_reason(self, sequence: Sequence) -> FinishReason | None:
        return finish_reason(sequence, self.runner.info.eos_token_ids, self._max_context_tokens)
