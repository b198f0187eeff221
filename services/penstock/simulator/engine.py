"""The step loop of one simulated worker: the live loop (`engine.loop`) with a cost model in place of the model.

Planning, admission and block book-keeping are the live ones. What differs is that a run of decode steps whose batch
cannot change is one event:

    begun     | done steps |  step in flight |  steps to come              |  last step ends: the one event
    times_s     t0 t1 t2      t3                t4 t5 t6 ....... tn

Whoever looks at the worker in between (`settle`) finds everything as of the last step that has ended; whoever changes
what the next step would do (`poke`, called by the book) cuts the run after the step in flight. So a run is the same as
its steps, which a test asserts.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import partial

from penstock.core.measured_costs import MeasuredCosts
from penstock.core.sequences import SequenceBook, SequenceOwner, TokenEvent
from penstock.core.types import FinishReason, SampledToken, ScheduledSequence, Sequence
from penstock.simulator.events import EventQueue
from penstock.simulator.planner import StepPlanner, is_decode

_TOKEN = SampledToken(0)
_Owned = dict[SequenceOwner, list[ScheduledSequence]]


@dataclass(slots=True)
class EngineTotals:
    """What the loop has done since it began."""

    num_steps: int = 0
    num_prompt_tokens: int = 0  # computed, not those found in the prefix cache
    num_sampled_tokens: int = 0
    num_looked_up_tokens: int = 0
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    busy_s: float = 0.0


@dataclass(slots=True, eq=False)
class Run:
    """One or more steps of the same items. `times_s` are the ends of all of them, `num_done` of which have passed."""

    items: tuple[ScheduledSequence, ...]
    began_s: float
    times_s: list[float]
    num_done: int = 0


OnRun = Callable[[SequenceOf[Sequence], SequenceOf[float]], None]


class SimulatedEngine:
    """Runs the steps of one worker. `on_run` hears of decode steps that ended inside a run; owners hear of the rest."""

    def __init__(self, book: SequenceBook, planner: StepPlanner, layer_groups: list[range], events: EventQueue) -> None:
        self.book = book
        self.costs = MeasuredCosts()
        self.totals = EngineTotals()
        self.on_run: OnRun = lambda sequences, times_s: None
        self._planner = planner
        self._layer_groups = layer_groups
        self._events = events
        self._run: Run | None = None
        self._is_poked = False
        self._is_stopped = False
        self._last_decode_s: float | None = None
        book.on_work = self.poke

    def stop(self) -> None:
        """The worker dies: nothing of the step in flight comes out."""
        self.settle()
        self._is_stopped = True
        self._run = None

    def poke(self) -> None:
        """There may be something to do: begin, or end the run in progress early."""
        if self._run is not None:
            self._cut(self._run)
        elif not self._is_poked and not self._is_stopped:
            self._is_poked = True
            self._events.after(0.0, self._begin)

    def settle(self) -> None:
        """Enter every step of a run that has ended by now."""
        run = self._run
        if run is None or len(run.times_s) == 1:
            return
        num_ended = min(bisect_right(run.times_s, self._events.now_s), len(run.times_s) - 1)
        if num_ended > run.num_done:
            self._advance(run, num_ended)

    # --- beginning ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._is_poked = False
        if self._run is not None or self._is_stopped:
            return
        plan = self._planner.plan(self._count_preempted)
        if not plan.items:
            self._last_decode_s = None
            return
        book, totals, now_s = self.book, self.totals, self._events.now_s
        starting = [item.sequence for item in plan.items if item.sequence in book.waiting]
        book.begin_step(plan.items)
        for sequence in starting:
            totals.num_looked_up_tokens += sequence.num_tokens
            totals.num_cached_tokens += sequence.num_cached_tokens
            book.owners[sequence].on_start(sequence)
        run = self._run = Run(plan.items, now_s, self._planner.times(plan.items, now_s))
        if any(item.sequence.is_prefill_only for item in plan.items):
            self._report_layers(run)
        self._events.at(run.times_s[-1], partial(self._end, run))  # after the last layers, which end with it

    def _count_preempted(self, num_preempted: int) -> None:
        self.totals.num_preemptions += num_preempted

    def _report_layers(self, run: Run) -> None:
        """Tell owners of what will be handed over as the layers are done, at an even pace."""
        owned: _Owned = defaultdict(list)
        for item in run.items:
            if item.sequence.is_prefill_only:
                owned[self.book.owners[item.sequence]].append(item)
        end_s, num_layers = run.times_s[0], self._layer_groups[-1].stop
        for layers in self._layer_groups:
            left_s = (end_s - run.began_s) * (num_layers - layers.stop) / num_layers
            self._events.at(end_s - left_s, partial(self._on_layers, owned, layers))

    def _on_layers(self, owned: _Owned, layers: range) -> None:
        if self._is_stopped:
            return
        for owner, items in owned.items():
            alive = [item for item in items if not item.sequence.is_cancelled]
            if alive:
                owner.on_layers(alive, layers)

    # --- passing and ending -------------------------------------------------------------------------------------------

    def _advance(self, run: Run, num_ended: int) -> None:
        """Enter the steps up to `num_ended`; the next one is in flight and has its blocks."""
        times_s = run.times_s[run.num_done : num_ended]
        sequences = [item.sequence for item in run.items]  # none is cancelled: that cuts the run
        zeros = [0] * len(times_s)
        for sequence in sequences:
            sequence.num_computed_tokens += len(times_s)
            sequence.token_ids += zeros
        self._learn_decodes(times_s, len(sequences))
        run.num_done = num_ended
        run.items = tuple(ScheduledSequence(sequence, sequence.num_computed_tokens, 1) for sequence in sequences)
        self.book.begin_step(run.items)
        for sequence in sequences:
            if sequence.block_hashes:
                self.book.enter_full_blocks(sequence)
        self.on_run(sequences, times_s)

    def _cut(self, run: Run) -> None:
        """Let the run end with the step in flight: the next one is planned anew."""
        self.settle()
        if len(run.times_s) > run.num_done + 1:
            del run.times_s[run.num_done + 1 :]
            self._events.at(run.times_s[-1], partial(self._end, run))

    def _end(self, run: Run) -> None:
        if self._run is not run or run.times_s[-1] != self._events.now_s:
            return  # it was cut, and has ended before
        self.settle()
        self._finish_step(run)
        self.totals.busy_s += run.times_s[-1] - run.began_s
        self._run = None
        self._begin()

    def _finish_step(self, run: Run) -> None:
        """The last step of a run, as `EngineLoop` ends every step."""
        self._learn(run)
        events: dict[SequenceOwner, list[TokenEvent]] = defaultdict(list)
        for item in run.items:
            sequence = item.sequence
            if sequence.is_cancelled:
                continue
            is_sampled = item.is_sampled
            sequence.num_computed_tokens = item.end
            self.book.enter_full_blocks(sequence)
            if not is_sampled:
                continue
            sequence.token_ids.append(0)
            reason = FinishReason.LENGTH if self._planner.num_tokens_left(sequence) <= 0 else None
            events[self.book.owners[sequence]].append(TokenEvent(sequence, _TOKEN, reason))
            if reason:
                self.book.release(sequence)
            elif sequence.is_prefill_only:
                del self.book.running[sequence]
        self.book.end_step()
        for owner, gained in events.items():
            owner.on_tokens(self.totals.num_steps, gained)

    # --- learning -----------------------------------------------------------------------------------------------------

    def _learn(self, run: Run) -> None:
        """As `EngineLoop._learn`, for the last step of a run."""
        began_s = run.times_s[-2] if len(run.times_s) > 1 else run.began_s
        num_tokens = sum(item.num_tokens for item in run.items)
        num_decodes = sum(map(is_decode, run.items))
        if num_decodes < len(run.items):
            self.costs.add_prefill(num_tokens, run.times_s[-1] - began_s)
        self.totals.num_prompt_tokens += num_tokens - num_decodes
        if not num_decodes:
            self._last_decode_s = None
        self._learn_decodes(run.times_s[-1:], sum(item.is_sampled for item in run.items))
        if not num_decodes:
            self._last_decode_s = None

    def _learn_decodes(self, times_s: SequenceOf[float], num_sampled: int) -> None:
        for time_s in times_s:
            if self._last_decode_s is not None:
                self.costs.add_decode(time_s - self._last_decode_s)
            self._last_decode_s = time_s
        self.totals.num_steps += len(times_s)
        self.totals.num_sampled_tokens += num_sampled * len(times_s)
