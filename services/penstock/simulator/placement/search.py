"""Branch and bound over layouts: simulate the most promising first, and leave out what cannot beat what was found.

    bounds     rate balance says the most each layout could serve                              candidates
    units      of the layout's smallest unit the goodput is bisected; a later one is only asked whether it attains
               more than the best so far, which takes one short simulation to deny              trials
    whole      the best layout is simulated once more with all its workers, and with the GPUs that units left idle

Each family (co-located, disaggregated) has a best of its own, so that an answer can be compared with the other. Rounds
are of a fixed size: the answer does not depend on how many trials run at the same time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from penstock.simulator.placement.candidates import Candidate, Field
from penstock.simulator.placement.layout import Layout
from penstock.simulator.placement.question import Question
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.placement.trials import Evaluate, Trial

_ROUND = 2  # of each family
_PRECISION = 0.05  # of each goodput; smaller gains are noise of the sample
_SLACK = 1.1  # bounds are of the workload's means, and may be exceeded by that much
_HOPED_SHARE = 0.95  # a large cluster, whose simulations take longest, is only asked for this or all that is hoped

OnTrials = Callable[[str], None]
"""Hears in a few words what is being simulated."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A layout, and the requests per second it serves with the goal attained."""

    layout: Layout
    rate: float

    @property
    def rate_per_gpu(self) -> float:
        return self.rate / self.layout.num_gpus


class Search:
    """Runs the trials of one question, and counts its simulations."""

    def __init__(self, question: Question, evaluate: Evaluate, on_trials: OnTrials = lambda what: None) -> None:
        self.question = question
        self.num_simulations = 0
        self._evaluate = evaluate
        self._on_trials = on_trials

    def best_of_each(self, field: Field) -> tuple[Finding | None, Finding | None]:
        """The best co-located layout and the best disaggregated one, by their units."""
        families = [iter(field.colocated), iter(field.disaggregated)]
        best: list[Finding | None] = [None, None]
        while True:
            asked = [
                (index, candidate)
                for index, family in enumerate(families)
                for candidate in islice(family, _ROUND)
                if candidate.bound * _SLACK > _rate(best[index]) * (1 + _PRECISION)
            ]
            if not asked:
                return best[0], best[1]
            self._on_trials(", ".join(str(candidate.layout.unit()) for _, candidate in asked))
            trials = [self._unit_trial(candidate, _rate(best[index])) for index, candidate in asked]
            for (index, candidate), rate in zip(asked, self.rates(trials), strict=True):
                found = Finding(candidate.layout, rate * candidate.layout.num_copies)
                if found.rate > _rate(best[index]):
                    best[index] = found

    def with_all_workers(self, found: Finding, splits: Sequence[Candidate]) -> Finding:
        """All workers in one cluster, idle GPUs used as well; or `found` as it is, in groups, where those serve more.

        `splits` are the ways to share the GPUs out with the parallelisms of `found`.
        """
        fullest = max(splits, key=lambda split: split.bound, default=None)
        if fullest is None:
            return found
        own = next(split.bound for split in splits if split.layout == found.layout)
        self._on_trials(str(fullest.layout))
        hoped_rate = found.rate * fullest.bound / own
        trial = self.trial(fullest.layout, self.question.traffic, hoped_rate, floor_rate=_HOPED_SHARE * hoped_rate)
        trial = replace(trial, precision=1.0)
        whole = Finding(fullest.layout, self.rates([trial])[0])
        return max(whole, found, key=lambda finding: finding.rate)

    def trial(self, layout: Layout, traffic: Traffic, first_rate: float, floor_rate: float = 0.0) -> Trial:
        """Measure `layout` as it is; rates are its own."""
        question = self.question
        return Trial(
            scenario=question.scenario(layout),
            traffic=traffic,
            horizon_s=question.horizon_s,
            first_rate=first_rate,
            goal=question.goal,
            precision=_PRECISION,
            floor_rate=floor_rate,
        )

    def rates(self, trials: Sequence[Trial]) -> list[float]:
        """The goodput of each, in requests per second."""
        found = list(self._evaluate(trials))
        self.num_simulations += sum(goodput.num_runs for goodput in found)
        return [goodput.rate for goodput in found]

    def _unit_trial(self, candidate: Candidate, best_rate: float) -> Trial:
        num_copies = candidate.layout.num_copies
        floor_rate = best_rate * (1 + _PRECISION) / num_copies
        first_rate = candidate.guess / num_copies
        return self.trial(candidate.layout.unit(), self.question.traffic, first_rate, floor_rate)


def _rate(found: Finding | None) -> float:
    return found.rate if found else 0.0
