"""When each step of a simulated worker ends. Decodes that nothing can change are timed many steps ahead."""

from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.core.policies.batching import num_new_blocks
from penstock.core.schedule import Schedule
from penstock.core.sequences import SequenceBook
from penstock.core.step import Items, Step
from penstock.core.types import FinishReason, ScheduledSequence, Sequence
from penstock.simulator.cost_model import CostModel
from penstock.simulator.hardware import ModelShape
from penstock.simulator.priorities import PriorityPattern


@dataclass(frozen=True, slots=True)
class StepRules:
    """How a worker composes its steps. `max_run_steps` bounds how many decode steps are one event."""

    schedule: Schedule = field(default_factory=Schedule)
    priorities: PriorityPattern = field(default_factory=PriorityPattern)
    overhead_s: float = 0.0  # of the engine, per step: scheduling, launch, sampling
    max_run_steps: int = 128


class StepTimes:
    """Times the steps of one worker's book."""

    def __init__(self, book: SequenceBook, cost: CostModel, rules: StepRules, shape: ModelShape) -> None:
        self._book = book
        self._cost = cost
        self._rules = rules
        self._shape = shape
        self.encode_s: Callable[[Sequence], float] | None = None  # of images that are encoded where they are prefilled
        self._max_context_tokens = book.pool.num_blocks * book.pool.block_size

    def times(self, step: Step, now_s: float) -> list[float]:
        """When each step of a run of `step` ends; a single one unless all decode and nothing can intervene."""
        overhead_s, items = self._rules.overhead_s + step.stall_s, step.items
        chunks = [(item.start, item.num_tokens) for item in items if not _is_decode(item)]
        num_decodes = len(items) - len(chunks)
        num_context = sum(item.end for item in items if _is_decode(item))
        if (chunks or step.cohort) and self.encode_s is not None:
            overhead_s += sum(self.encode_s(item.sequence) for item in step.entering if not _is_decode(item))
        if step.cohort:
            return [now_s + overhead_s + self._layered_s(step, num_decodes, num_context)]
        if chunks:
            whole_s = self._cost.step_s(chunks, num_decodes, num_context)
            return [now_s + (overhead_s + (1.0 - step.progress) * whole_s)]
        times_s: list[float] = []
        decode_s = self._cost.decode_s
        for _ in range(1 if step.stall_s else self._num_run_steps(items)):
            now_s += overhead_s + decode_s(num_decodes, num_context)
            num_context += num_decodes
            times_s.append(now_s)
        return times_s

    def expert_bytes(self, step: Step) -> float:
        """Expert weights that a step reads: its cohort shares the reading with the items in its layers only."""
        num_items = sum(item.num_tokens for item in step.items)
        alone = self._shape.expert_bytes(num_items)
        if not step.cohort:
            return alone
        together = self._shape.expert_bytes(num_items + sum(item.num_tokens for item in step.cohort))
        return step.layers_share * together + (1.0 - step.layers_share) * alone

    def finish_reason(self, sequence: Sequence) -> FinishReason | None:
        """Lengths are forced, so nothing but length ends a sequence."""
        return FinishReason.LENGTH if self._num_tokens_left(sequence) <= 0 else None

    def _layered_s(self, step: Step, num_decodes: int, num_context_tokens: int) -> float:
        """Layers the cohort passes cost what a mixed step costs there; the others run the decodes alone."""
        chunks = [(item.start, item.num_tokens) for item in step.cohort]
        mixed_s = self._cost.step_s(chunks, num_decodes, num_context_tokens)
        alone_s = self._cost.decode_s(num_decodes, num_context_tokens) if num_decodes else 0.0
        return step.layers_share * mixed_s + (1.0 - step.layers_share) * alone_s

    def _num_tokens_left(self, sequence: Sequence) -> int:
        left = sequence.request.sampling.max_tokens - sequence.num_output_tokens
        return min(left, self._max_context_tokens - sequence.num_tokens)

    def _num_run_steps(self, items: Items) -> int:
        """How often these decodes can be run before the plan could be another one."""
        book = self._book
        is_bounded = self._rules.schedule.tpot_slo_s < float("inf")  # each step may admit fewer than the one before
        if is_bounded or book.waiting or len(items) < len(book.running) or not all(map(_has_begun_decoding, items)):
            return 1
        num_steps = min(self._rules.max_run_steps, *(self._num_tokens_left(item.sequence) for item in items))
        block_size, num_free = book.pool.block_size, book.pool.num_free
        while num_steps > 1:
            needed = sum(num_new_blocks(item.sequence, item.end + num_steps - 1, block_size) for item in items)
            if needed <= num_free:
                break
            num_steps //= 2
        return max(1, num_steps)


def _is_decode(item: ScheduledSequence) -> bool:
    """Whether an item runs one token to sample the next."""
    return item.num_tokens == 1 and item.is_sampled


def _has_begun_decoding(item: ScheduledSequence) -> bool:
    """Not so when the one token is the last of a prompt."""
    return item.sequence.num_tokens > item.sequence.request.num_tokens
