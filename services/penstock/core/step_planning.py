"""The steps of one worker: what the next one runs, and what is entered when it has run.

Life of a request: prefill (step 4) and decode (step 8) both pass here. The live loop (`engine.loop`) and the simulated
one (`simulator.engine`) differ only in how a step is run, and so cannot drift apart:

    begin --> step --(a model, or its cost model, runs it)--> finish --> owners hear of their tokens
      ^         '--should_yield, at an arrival--> pause, at the next layer boundary --.
      '-------------------------------------------------------------------------------'
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from penstock.core.policies.prefill_preemption import RunningPrefill, should_yield
from penstock.core.prompt_order import prompts_in_order
from penstock.core.residency import Residency
from penstock.core.schedule import Schedule
from penstock.core.sequence_prefix import enter_full_blocks
from penstock.core.sequences import SequenceBook, SequenceOwner, TokenEvent
from penstock.core.step import Items, Step
from penstock.core.step_accounts import StepAccounts
from penstock.core.step_composition import Composer
from penstock.core.step_cost import StepCost
from penstock.core.types import NO_LIMIT, FinishReason, SampledToken, ScheduledSequence, Sequence
from penstock.core.urgency import batch_priority, batch_s

EndOf = Callable[[Sequence], FinishReason | None]
"""Why the token just appended is a sequence's last, or None when it goes on."""


class StepPlanner:
    """Plans and enters the steps of one worker's book. `predict` knows what steps cost; else what was measured."""

    def __init__(
        self, book: SequenceBook, schedule: Schedule, end_of: EndOf, predict: Callable[[], StepCost] | None = None
    ) -> None:
        self.book = book
        self.accounts = StepAccounts()
        self._schedule = schedule
        self._end_of = end_of
        self._predict = predict or self.accounts.costs.step_cost
        self._composer = Composer(book, schedule, self._predict, self.accounts)
        self._residency = Residency(book, schedule.swap, self._predict) if schedule.swap else None
        self._paused: list[Step] = []

    @property
    def residency(self) -> Residency | None:
        """Who moves KV to the host and back, if anybody does."""
        return self._residency

    def begin(self) -> Step | None:
        """What to run now, with its blocks; None when there is nothing that can. A paused step may be resumed."""
        book = self.book
        if self._residency is None:
            book.readmit()
        else:
            self._residency.settle()
        self._drop_cancelled()
        prompts = self._prompts()
        if self._paused and (step := self._most_urgent_paused(prompts)) is not None:
            self._paused.remove(step)
            return step
        step = self._composer.compose(prompts)
        if step is None:
            self.accounts.idle()
            return None
        if self._residency is not None:
            step.stall_s = self._residency.take_stall_s()
        starting = [item.sequence for item in step.entering if item.sequence in book.waiting]
        book.begin_step(step.entering)
        book.step_began_s = book.now_s()
        for sequence in starting:
            self.accounts.start(sequence)
            book.owners[sequence].on_start(sequence)
        return step

    def finish(self, step: Step, tokens: Iterable[SampledToken | None], duration_s: float) -> None:
        """A step has run: enter what it computed and sampled (`tokens` of `step.ending`), and tell the owners."""
        book, end_of, ending = self.book, self._end_of, step.ending
        self.accounts.enter(step, step.paused_after_s + duration_s, book.now_s())
        events: dict[SequenceOwner, list[TokenEvent]] = defaultdict(list)
        for item, token in zip(ending, tokens, strict=True):
            sequence = item.sequence
            if sequence.is_cancelled:
                continue
            sequence.num_computed_tokens = item.end
            enter_full_blocks(sequence, book.pool)
            if token is None:
                continue
            sequence.token_ids.append(token.token_id)
            reason = end_of(sequence)
            events[book.owners[sequence]].append(TokenEvent(sequence, token, reason))
            if reason:
                book.release(sequence)
            elif sequence.is_prefill_only:
                del book.running[sequence]
        self._composer.passed(step)
        book.end_step(ending)
        for owner, gained in events.items():
            owner.on_tokens(self.accounts.totals.num_steps, gained)

    # --- yielding between two layers ----------------------------------------------------------------------------------

    def can_pause(self, step: Step) -> bool:
        """Steps that decode cannot: streams would wait. Nor can prompts that stay here: they may be preempted."""
        if self._schedule.yielding is None or step.cohort:
            return False
        return all(item.sequence.is_prefill_only for item in step.items)

    def should_yield(self, step: Step, progress: float) -> bool:
        """Whether the running step, that far through its layers, is to pause for somebody. Asked when one arrives."""
        guards = self._schedule.yielding
        if guards is None or not self.book.waiting or not self.can_pause(step):
            return False
        prompts = self._prompts()
        if not prompts:
            return False
        members = [item.sequence for item in step.items]
        running = RunningPrefill(members, progress, step.num_pauses)
        now_s = self.book.now_s()
        return should_yield(running, prompts[0], len(self._paused), self._predict(), now_s, guards)

    def pause(self, step: Step, progress: float, duration_s: float) -> None:
        """The step has stopped between two layers; it keeps its blocks until it is resumed and ends."""
        step.progress, step.paused_after_s = progress, step.paused_after_s + duration_s
        step.num_pauses += 1
        self.accounts.totals.num_yields += 1
        self._paused.append(step)

    def _drop_cancelled(self) -> None:
        for step in list(self._paused):
            if all(item.sequence.is_cancelled for item in step.items):
                self._paused.remove(step)
                self.book.end_step(step.items)

    def _most_urgent_paused(self, prompts: list[Sequence]) -> Step | None:
        """The paused step to resume; None when a prompt is more urgent than all of them."""
        cost, now_s = self._predict(), self.book.now_s()

        def priority(step: Step) -> float:
            members = [item.sequence for item in step.items]
            return batch_priority(members, (1.0 - step.progress) * batch_s(members, cost), now_s)

        best = max(self._paused, key=priority)
        if prompts and batch_priority(prompts[:1], batch_s(prompts[:1], cost), now_s) > priority(best):
            return None
        return best

    def _prompts(self) -> list[Sequence]:
        """Prompts that can run and are not in a step already, as they are to be served."""
        book = self.book
        under_way = [s for s in book.running if len(s.token_ids) - s.num_computed_tokens > 1 and s not in book.in_step]
        prompts = [*under_way, *book.waiting]
        if any(sequence.num_ready_tokens < NO_LIMIT for sequence in prompts):
            prompts = [sequence for sequence in prompts if sequence.is_runnable]
        if book.waiting:
            is_shared = self.accounts.see_tenants(book.owners)
            tenants = self.accounts.tenants if is_shared else None
            return prompts_in_order(prompts, self._schedule.order, self._predict, book.now_s(), tenants)
        return prompts


def owned_by(book: SequenceBook, items: Items) -> dict[SequenceOwner, list[ScheduledSequence]]:
    """By owner, what will be handed over and is not cancelled: whom to tell of layers. Mostly nobody."""
    owned: dict[SequenceOwner, list[ScheduledSequence]] = defaultdict(list)
    for item in items:
        if item.sequence.is_prefill_only and not item.sequence.is_cancelled:
            owned[book.owners[item.sequence]].append(item)
    return owned
