"""What the next steps of a simulated worker run, and when each of them ends.

The plan is the live one (`policies.batching`). The times come from a cost model; decodes that nothing can change are
timed many steps ahead.
"""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

from penstock.core.policies.batching import BatchLimits, BatchPlan, num_new_blocks, plan_batch
from penstock.core.policies.prefill_first import choose
from penstock.core.sequences import SequenceBook
from penstock.core.types import ScheduledSequence, Sequence
from penstock.simulator.cost_model import CostModel


@dataclass(frozen=True, slots=True)
class StepRules:
    """How a worker composes its steps. `max_run_steps` bounds how many decode steps are one event."""

    limits: BatchLimits = field(default_factory=BatchLimits)
    is_prefill_first: bool = False  # vLLM's schedule before chunked prefill, instead of stall-free batching
    overhead_s: float = 0.0  # of the engine, per step: scheduling, launch, sampling
    max_run_steps: int = 128


class StepPlanner:
    """Plans for one worker's book."""

    def __init__(self, book: SequenceBook, cost: CostModel, rules: StepRules) -> None:
        self._book = book
        self._cost = cost
        self._rules = rules
        self._max_context_tokens = book.pool.num_blocks * book.pool.block_size

    def plan(self, on_preempted: Callable[[int], None]) -> BatchPlan:
        """The next batch, as `EngineLoop` plans it; `on_preempted` hears how many had to make room."""
        book, limits = self._book, self._rules.limits
        book.readmit()
        book.match_prefixes(limits.max_tokens)
        plan = self._plan_once()
        while plan.preempted:  # blocks they shared did not come free: plan again with those that did
            for sequence in plan.preempted:
                book.preempt(sequence)
            on_preempted(len(plan.preempted))
            plan = plan_batch(book.running, (), limits, book.pool.num_free, book.pool.block_size)
        return plan

    def times(self, items: SequenceOf[ScheduledSequence], now_s: float) -> list[float]:
        """When each step of a run of `items` ends; a single one unless all decode and nothing can intervene."""
        overhead_s = self._rules.overhead_s
        chunks = [(item.start, item.num_tokens) for item in items if not is_decode(item)]
        num_decodes = len(items) - len(chunks)
        num_context = sum(item.end for item in items if is_decode(item))
        if chunks:
            return [now_s + (overhead_s + self._cost.step_s(chunks, num_decodes, num_context))]
        times_s: list[float] = []
        decode_s = self._cost.decode_s
        for _ in range(self._num_run_steps(items)):
            now_s += overhead_s + decode_s(num_decodes, num_context)
            num_context += num_decodes
            times_s.append(now_s)
        return times_s

    def num_tokens_left(self, sequence: Sequence) -> int:
        """Output tokens until it ends: lengths are forced, so nothing but length ends it."""
        left = sequence.request.sampling.max_tokens - sequence.num_output_tokens
        return min(left, self._max_context_tokens - sequence.num_tokens)

    def _plan_once(self) -> BatchPlan:
        book, limits, pool = self._book, self._rules.limits, self._book.pool
        if not self._rules.is_prefill_first:
            return plan_batch(book.running, book.waiting, limits, pool.num_free, pool.block_size)
        choice = choose(
            book.running, book.waiting, limits.max_tokens, limits.max_sequences, pool.num_free, pool.block_size
        )
        limits = BatchLimits(choice.max_tokens, limits.max_sequences)
        return plan_batch(choice.running, choice.waiting, limits, pool.num_free, pool.block_size)

    def _num_run_steps(self, items: SequenceOf[ScheduledSequence]) -> int:
        """How often these decodes can be run before the plan could be another one."""
        book = self._book
        if book.waiting or len(items) < len(book.running) or not all(map(_has_begun_decoding, items)):
            return 1
        num_steps = min(self._rules.max_run_steps, *(self.num_tokens_left(item.sequence) for item in items))
        block_size, num_free = book.pool.block_size, book.pool.num_free
        while num_steps > 1:
            needed = sum(num_new_blocks(item.sequence, item.end + num_steps - 1, block_size) for item in items)
            if needed <= num_free:
                break
            num_steps //= 2
        return max(1, num_steps)


def is_decode(item: ScheduledSequence) -> bool:
    """Whether an item runs one token to sample the next."""
    return item.num_tokens == 1 and item.is_sampled


def _has_begun_decoding(item: ScheduledSequence) -> bool:
    """Not so when the one token is the last of a prompt."""
    return item.sequence.num_tokens > item.sequence.request.num_tokens
