"""The step loop of one simulated worker: the live loop (`engine.loop`) with a cost model in place of the model.

What a step runs and what is entered afterwards is `core.step_planning`, as in the live loop. What differs is that a run
of decode steps whose batch cannot change is one event:

    begun     | done steps |  step in flight |  steps to come              |  last step ends: the one event
    times_s     t0 t1 t2      t3                t4 t5 t6 ....... tn

Whoever looks at the worker in between (`settle`) finds everything as of the last step that has ended; whoever changes
what the next step would do (`poke`, called by the book) cuts the run after the step in flight. So a run is the same as
its steps, which a test asserts. A step of prompts alone may also be cut at its next layer boundary, and go on later.
"""

from bisect import bisect_right
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import partial
from math import ceil

from penstock.core.sequence_prefix import enter_full_blocks
from penstock.core.sequences import SequenceBook, SequenceOwner
from penstock.core.step import Items, Step
from penstock.core.step_planning import StepPlanner, owned_by
from penstock.core.types import SampledToken, ScheduledSequence, Sequence
from penstock.simulator.events import EventQueue
from penstock.simulator.priorities import PriorityPattern
from penstock.simulator.step_times import StepTimes

_TOKEN = SampledToken(0)
_Owned = dict[SequenceOwner, list[ScheduledSequence]]


@dataclass(slots=True, eq=False)
class Run:
    """One or more steps of the same items. `times_s` are the ends of all of them, `num_done` of which have passed."""

    step: Step
    began_s: float
    times_s: list[float]
    num_done: int = 0
    layer_end: int | None = None  # where the step pauses, if it does

    @property
    def items(self) -> Items:
        return self.step.items

    @property
    def last_end_s(self) -> float:
        """When the last step that is done ended, and the one in flight began."""
        return self.times_s[self.num_done - 1] if self.num_done else self.began_s


OnRun = Callable[[SequenceOf[Sequence], SequenceOf[float]], None]


class SimulatedEngine:
    """Runs the steps of one worker. `on_run` hears of decode steps that ended inside a run; owners hear of the rest."""

    def __init__(
        self,
        planner: StepPlanner,
        times: StepTimes,
        layer_groups: list[range],
        events: EventQueue,
        priorities: PriorityPattern | None = None,
    ) -> None:
        self.book: SequenceBook = planner.book
        self.costs = planner.accounts.costs
        self.totals = planner.accounts.totals
        self.expert_bytes = 0.0  # expert weights read
        self.on_run: OnRun = lambda sequences, times_s: None
        self._planner = planner
        self._times = times
        self._priorities = priorities or PriorityPattern()
        self._layer_groups = layer_groups
        self._num_layers = layer_groups[-1].stop
        self._events = events
        self._run: Run | None = None
        self._is_poked = False
        self._is_stopped = False
        self.book.on_work = self.poke

    @property
    def num_swaps(self) -> int:
        residency = self._planner.residency
        return residency.num_swaps if residency else 0

    def stop(self) -> None:
        """The worker dies: nothing of the step in flight comes out."""
        self.settle()
        self._is_stopped = True
        self._run = None

    def poke(self) -> None:
        """There may be something to do: begin, or end the run in progress early."""
        if self._run is not None:
            self._cut(self._run)
            self._yield(self._run)
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
        self._priorities.shuffle(self.book, self.totals.num_steps)
        step = self._planner.begin()
        if step is None:
            self._wait_for_copies()
            return
        now_s = self._events.now_s
        run = self._run = Run(step, now_s, self._times.times(step, now_s))
        self._report_layers(run)
        self._events.at(run.times_s[-1], partial(self._end, run))  # after the last layers, which end with it

    def _wait_for_copies(self) -> None:
        residency = self._planner.residency
        if residency is not None and (end_s := residency.next_end_s) is not None:
            self._events.at(max(end_s, self._events.now_s), self.poke)

    def _report_layers(self, run: Run) -> None:
        """Tell owners of what will be handed over as the layers are done, at an even pace."""
        step, end_s, num_layers = run.step, run.times_s[0], self._num_layers
        num_passed = round(step.progress * num_layers)
        for items, passing in ((step.items, range(num_passed, num_layers)), (step.cohort, step.layers)):
            if not (owned := owned_by(self.book, items)):
                continue
            for layers in self._layer_groups:
                if passing.start < layers.stop <= passing.stop:
                    left_s = (end_s - run.began_s) * (num_layers - layers.stop) / (num_layers - num_passed)
                    self._events.at(end_s - left_s, partial(self._on_layers, run, owned, layers))

    def _on_layers(self, run: Run, owned: _Owned, layers: range) -> None:
        if self._is_stopped or (run.layer_end is not None and layers.stop > run.layer_end):
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
        self._planner.accounts.enter_decodes(times_s, len(sequences))
        self.totals.busy_s += times_s[-1] - run.last_end_s
        self.expert_bytes += len(times_s) * self._times.expert_bytes(run.step)
        run.num_done = num_ended
        run.step.items = tuple(ScheduledSequence(sequence, sequence.num_computed_tokens, 1) for sequence in sequences)
        self.book.begin_step(run.items)
        for sequence in sequences:
            if sequence.block_hashes:
                enter_full_blocks(sequence, self.book.pool)
        self.on_run(sequences, times_s)

    def _cut(self, run: Run) -> None:
        """Let the run end with the step in flight: the next one is planned anew."""
        self.settle()
        if len(run.times_s) > run.num_done + 1:
            del run.times_s[run.num_done + 1 :]
            self._events.at(run.times_s[-1], partial(self._end, run))

    def _yield(self, run: Run) -> None:
        """Pause a step of prompts at its next layer boundary when somebody more urgent has come."""
        step, num_layers = run.step, self._num_layers
        began_s, end_s = run.began_s, run.times_s[-1]
        if run.layer_end is not None or len(run.times_s) > 1 or end_s <= began_s:
            return
        progress = step.progress + (1 - step.progress) * (self._events.now_s - began_s) / (end_s - began_s)
        layer_end = ceil(progress * num_layers - 1e-9)
        if layer_end >= num_layers or not self._planner.should_yield(step, progress):
            return
        share = (layer_end / num_layers - step.progress) / (1 - step.progress)
        run.layer_end = layer_end
        run.times_s[-1] = max(self._events.now_s, began_s + share * (end_s - began_s))
        self._events.at(run.times_s[-1], partial(self._end, run))

    def _end(self, run: Run) -> None:
        if self._run is not run or run.times_s[-1] != self._events.now_s:
            return  # it was cut, and has ended before
        self.settle()
        duration_s = self._events.now_s - run.last_end_s
        if run.layer_end is not None:
            self._planner.pause(run.step, run.layer_end / self._num_layers, duration_s)
        else:
            tokens = [_TOKEN if item.is_sampled else None for item in run.step.ending]
            self.expert_bytes += self._times.expert_bytes(run.step)
            self._planner.finish(run.step, tokens, duration_s)
        self._run = None
        self._begin()
