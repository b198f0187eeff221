"""The steps of one worker: what the next one runs, and what is entered when it has run.

Life of a request: prefill (step 4) and decode (step 8) both pass here. The live loop (`engine.loop`) and the simulated
one (`simulator.engine`) differ only in how a step is run, and so cannot drift apart:

    begin --> items --(a model, or its cost model, runs them)--> finish --> owners hear of their tokens
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

from penstock.core.measured_costs import MeasuredCosts
from penstock.core.policies import prefill_first
from penstock.core.policies.batching import BatchLimits, BatchPlan, plan_batch
from penstock.core.sequences import SequenceBook, SequenceOwner, TokenEvent
from penstock.core.types import FinishReason, SampledToken, ScheduledSequence, Sequence

Items = tuple[ScheduledSequence, ...]
EndOf = Callable[[Sequence], FinishReason | None]
"""Why the token just appended is a sequence's last, or None when it goes on."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a worker composes its steps."""

    limits: BatchLimits = field(default_factory=BatchLimits)
    is_prefill_first: bool = False  # vLLM's schedule before chunked prefill, instead of stall-free batching


@dataclass(slots=True)
class EngineTotals:
    """What a worker's steps have done since it began."""

    num_steps: int = 0
    num_prompt_tokens: int = 0  # computed, not those found in the prefix cache
    num_sampled_tokens: int = 0
    num_looked_up_tokens: int = 0
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    busy_s: float = 0.0


class StepPlanner:
    """Plans and enters the steps of one worker's book."""

    def __init__(self, book: SequenceBook, schedule: Schedule, end_of: EndOf) -> None:
        self.book = book
        self.costs = MeasuredCosts()
        self.totals = EngineTotals()
        self._schedule = schedule
        self._end_of = end_of
        self._last_decode_s: float | None = None

    def begin(self) -> Items:
        """What to run now, with its blocks; nothing when there is nothing that can."""
        book, totals = self.book, self.totals
        items = self._plan().items
        if not items:
            self._last_decode_s = None
            return ()
        starting = [item.sequence for item in items if item.sequence in book.waiting]
        book.begin_step(items)
        for sequence in starting:
            totals.num_looked_up_tokens += sequence.num_tokens
            totals.num_cached_tokens += sequence.num_cached_tokens
            book.owners[sequence].on_start(sequence)
        return items

    def finish(self, items: Items, tokens: Iterable[SampledToken | None], duration_s: float, ended_s: float) -> None:
        """A step has run: enter what it computed and sampled, and tell the owners."""
        book, end_of = self.book, self._end_of
        self._learn(items, duration_s, ended_s)
        events: dict[SequenceOwner, list[TokenEvent]] = defaultdict(list)
        for item, token in zip(items, tokens, strict=True):
            sequence = item.sequence
            if sequence.is_cancelled:
                continue
            sequence.num_computed_tokens = item.end
            book.enter_full_blocks(sequence)
            if token is None:
                continue
            sequence.token_ids.append(token.token_id)
            reason = end_of(sequence)
            events[book.owners[sequence]].append(TokenEvent(sequence, token, reason))
            if reason:
                book.release(sequence)
            elif sequence.is_prefill_only:
                del book.running[sequence]
        book.end_step()
        for owner, gained in events.items():
            owner.on_tokens(self.totals.num_steps, gained)

    def learn_decodes(self, times_s: SequenceOf[float], num_sampled: int) -> None:
        """Steps ended at `times_s`, each of which sampled so many tokens."""
        for time_s in times_s:
            if self._last_decode_s is not None:
                self.costs.add_decode(time_s - self._last_decode_s)
            self._last_decode_s = time_s
        self.totals.num_steps += len(times_s)
        self.totals.num_sampled_tokens += num_sampled * len(times_s)

    def _learn(self, items: Items, duration_s: float, ended_s: float) -> None:
        num_tokens = sum(item.num_tokens for item in items)
        is_sampled = [item.is_sampled for item in items]
        num_decodes = sum(item.num_tokens == 1 and sampled for item, sampled in zip(items, is_sampled, strict=True))
        self.totals.num_prompt_tokens += num_tokens - num_decodes
        self.totals.busy_s += duration_s
        if num_decodes < len(items):
            self.costs.add_prefill(num_tokens, duration_s)
        if not num_decodes:
            self._last_decode_s = None
        self.learn_decodes([ended_s], sum(is_sampled))
        if not num_decodes:
            self._last_decode_s = None

    # --- planning -----------------------------------------------------------------------------------------------------

    def _plan(self) -> BatchPlan:
        book, limits = self.book, self._schedule.limits
        book.readmit()
        book.match_prefixes(limits.max_tokens)
        plan = self._plan_once()
        while plan.preempted:  # blocks they shared did not come free: plan again with those that did
            for sequence in plan.preempted:
                book.preempt(sequence)
            self.totals.num_preemptions += len(plan.preempted)
            plan = plan_batch(book.running, (), limits, book.pool.num_free, book.pool.block_size)
        return plan

    def _plan_once(self) -> BatchPlan:
        book, limits, pool = self.book, self._schedule.limits, self.book.pool
        if not self._schedule.is_prefill_first:
            return plan_batch(book.running, book.waiting, limits, pool.num_free, pool.block_size)
        choice = prefill_first.choose(
            book.running, book.waiting, limits.max_tokens, limits.max_sequences, pool.num_free, pool.block_size
        )
        limits = BatchLimits(choice.max_tokens, limits.max_sequences)
        return plan_batch(choice.running, choice.waiting, limits, pool.num_free, pool.block_size)


def owned_by(book: SequenceBook, items: Items) -> dict[SequenceOwner, list[ScheduledSequence]]:
    """By owner, what will be handed over and is not cancelled: whom to tell of layers. Mostly nobody."""
    owned: dict[SequenceOwner, list[ScheduledSequence]] = defaultdict(list)
    for item in items:
        if item.sequence.is_prefill_only and not item.sequence.is_cancelled:
            owned[book.owners[item.sequence]].append(item)
    return owned
