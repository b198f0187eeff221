"""The step loop of a worker: plan a batch, run it, tell the owners of its sequences what came of it.

Life of a request: prefill (step 4) and decode (step 8) both pass here. One loop serves every language role, so that a
flip changes nothing but what is routed here, and a mixed worker runs chunks and decodes in one batch. What a step runs,
and what is entered afterwards, is `core.step_planning`; here it is run.
"""

import asyncio
from collections.abc import Callable

from penstock.core.blocks import BlockPool
from penstock.core.policies.admission import AdmissionLimits
from penstock.core.sequences import SequenceBook
from penstock.core.step_planning import Items, Schedule, StepPlanner, owned_by
from penstock.core.types import Batch, FinishReason, Sequence
from penstock.engine.finish import finish_reason
from penstock.engine.runner import LayersDone, Runner


class EngineLoop:
    """Runs the batches of one worker. Everything but the forward pass happens on the event loop."""

    def __init__(
        self, runner: Runner, schedule: Schedule, admission_limits: AdmissionLimits, now_s: Callable[[], float]
    ) -> None:
        self.runner = runner
        layout = runner.kv.layout
        self.book = SequenceBook(BlockPool(layout.num_blocks, layout.block_size), admission_limits, now_s)
        self._now_s = now_s
        # a sequence that alone outgrows the pool could neither run nor make room
        self._max_context_tokens = min(runner.info.max_context_tokens, layout.num_blocks * layout.block_size)
        self._planner = StepPlanner(self.book, schedule, self._finish_reason)
        self.costs = self._planner.costs
        self.totals = self._planner.totals
        self._has_work = asyncio.Event()
        self.book.on_work = self._has_work.set

    async def run(self) -> None:
        """Run steps for ever. A device failure is raised: the process ends and gateways resume its work elsewhere."""
        while True:
            await self._has_work.wait()
            items = self._planner.begin()
            if not items:
                self._has_work.clear()
                continue
            batch = Batch(self.totals.num_steps + 1, items)
            output = await self.runner.execute(batch, self._layers_reporter(items))
            self._planner.finish(items, output.tokens, output.duration_s, self._now_s())

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
