"""Composing the next step of a worker from the policies that its schedule names."""

from collections.abc import Callable

from penstock.core.cohort_steps import CohortSteps
from penstock.core.policies import prefill_first
from penstock.core.policies.batching import BatchLimits, BatchPlan, plan_batch
from penstock.core.policies.chunk_budget import DecodeLoad, token_budget
from penstock.core.policies.decode_admission import DecodeBound, DecodeRoom, admit
from penstock.core.policies.prefill_batch import choose_batch
from penstock.core.policies.victims import in_keeping_order
from penstock.core.schedule import Batching, Schedule
from penstock.core.sequence_prefix import match_prefixes
from penstock.core.sequences import SequenceBook
from penstock.core.step import Items, Step
from penstock.core.step_accounts import StepAccounts
from penstock.core.step_cost import StepCost
from penstock.core.types import Sequence

_NO_BOUND = float("inf")


class Composer:
    """Composes the steps of one worker's book."""

    def __init__(
        self, book: SequenceBook, schedule: Schedule, predict: Callable[[], StepCost], accounts: StepAccounts
    ) -> None:
        self._book = book
        self._schedule = schedule
        self._predict = predict
        self._accounts = accounts
        self._cohorts = CohortSteps(schedule, book.pool.block_size)
        self.passed = self._cohorts.passed

    def compose(self, prompts: list[Sequence]) -> Step | None:
        """The next step of everything that decodes and of `prompts`, which come as they are to be served."""
        book, cohorts = self._book, self._cohorts
        match_prefixes(prompts, book.waiting, book.pool, self._schedule.limits.max_tokens)
        if cohorts.is_under_way or (prompts and cohorts.form(prompts, book.num_decoding, len(book.running))):
            return cohorts.next_step(self._plan([]), self._predict())
        items = self._plan(prompts)
        return Step(items) if items else None

    def _plan(self, prompts: list[Sequence]) -> Items:
        """A batch that fits in memory. Who must make room for it has done so, and is computed again later.

        Where KV is swapped they only sit this step out, and whoever moves it does what is to be done.
        """
        book, limits = self._book, self._schedule.limits
        plan = self._plan_once(prompts)
        sitting_out: set[Sequence] = set()
        while plan.preempted:  # blocks they shared did not come free: plan again with those that did
            if self._schedule.swap is None:
                for sequence in plan.preempted:
                    book.preempt(sequence)
                self._accounts.totals.num_preemptions += len(plan.preempted)
            sitting_out.update(plan.preempted)
            running = [sequence for sequence in self._running() if sequence not in sitting_out]
            if self._cohorts.is_under_way:  # prompts are in it, or left out because of it
                running = [sequence for sequence in running if sequence.num_tokens_to_run <= 1]
            plan = plan_batch(running, (), limits, book.pool.num_free, book.pool.block_size)
        return plan.items

    def _plan_once(self, prompts: list[Sequence]) -> BatchPlan:
        schedule, pool = self._schedule, self._book.pool
        running = self._running()
        if not prompts and not self._cohorts.is_under_way and schedule.tpot_slo_s == _NO_BOUND:
            return self._batch(running, [], schedule.limits.max_tokens)  # all of it decodes: the step run most often
        decodes = [sequence for sequence in running if sequence.num_tokens_to_run <= 1]
        if not prompts:
            return self._batch(self._bounded(decodes, [])[0], [], schedule.limits.max_tokens)
        if schedule.batching is Batching.PREFILL_FIRST:
            limits = schedule.limits
            waiting = [sequence for sequence in prompts if sequence in self._book.waiting]
            choice = prefill_first.choose(
                running, waiting, limits.max_tokens, limits.max_sequences, pool.num_free, pool.block_size
            )
            return self._batch([*choice.running], [*choice.waiting], choice.max_tokens)
        if not decodes and schedule.yielding is not None:
            prompts = self._in_time_together(prompts)
        max_tokens = schedule.limits.max_tokens
        if decodes and schedule.tpot_slo_s < _NO_BOUND:
            decodes, prompts, max_tokens = self._bounded(decodes, prompts)
        under_way = [sequence for sequence in prompts if sequence in self._book.running]
        return self._batch([*decodes, *under_way], prompts, max_tokens)

    def _batch(self, running: list[Sequence], prompts: list[Sequence], max_tokens: int) -> BatchPlan:
        """Who of the running ones is left out keeps its place all the same."""
        book, limits = self._book, self._schedule.limits
        num_places = limits.max_sequences - len(book.running) + len(running)
        return plan_batch(
            running, prompts, BatchLimits(max_tokens, num_places), book.pool.num_free, book.pool.block_size
        )

    def _running(self) -> list[Sequence]:
        """Running sequences that are not between two layers; when blocks are short, in the order of keeping them."""
        book = self._book
        running = [s for s in book.running if s not in book.in_step] if book.in_step else list(book.running)
        if book.pool.num_free < len(running) and len({sequence.request.priority for sequence in running}) > 1:
            return in_keeping_order(running)
        return running

    def _in_time_together(self, prompts: list[Sequence]) -> list[Sequence]:
        """Nothing decodes: the most urgent prompt, and those that do not make it late (FlowPrefill)."""
        max_sequences = self._schedule.limits.max_sequences
        return list(choose_batch(prompts, self._predict(), self._book.now_s(), max_sequences))

    def _bounded(self, decodes: list[Sequence], prompts: list[Sequence]) -> tuple[list[Sequence], list[Sequence], int]:
        """Which decodes and prompts run, and how many tokens, so that the step keeps its objective."""
        schedule, cost = self._schedule, self._predict()
        kept = self._within_bound(decodes, cost)
        if len(kept) < len(decodes):  # nothing new may start that would have to wait for its second token
            prompts = [sequence for sequence in prompts if sequence in self._book.running]
        if not prompts:
            return kept, prompts, schedule.limits.max_tokens
        load = DecodeLoad(len(kept), sum(sequence.num_tokens for sequence in kept), schedule.tpot_slo_s)
        max_tokens = token_budget(load, cost, schedule.budget_limits, prompts[0].num_computed_tokens)
        return kept, prompts, max_tokens

    def _within_bound(self, decodes: list[Sequence], cost: StepCost) -> list[Sequence]:
        """Those whose step keeps the objective: the online ones, the first first (xLLM)."""
        bound = DecodeBound(self._schedule.tpot_slo_s, max_sequences=self._schedule.limits.max_sequences)
        num_context = sum(sequence.num_tokens for sequence in decodes)
        if cost.decode_s(len(decodes), num_context) <= bound.slo_fraction * bound.tpot_slo_s:
            return decodes
        pool = self._book.pool
        room = DecodeRoom(0, 0, max(pool.num_free, len(decodes)), pool.block_size)
        return list(admit(decodes, room, cost, bound))
