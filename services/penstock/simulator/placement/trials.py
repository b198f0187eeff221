"""One measurement of the search, as plain data: it can be run here, in another process, or on another machine."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from penstock.simulator.cluster import Cluster
from penstock.simulator.goodput import Goodput, attainment, find_goodput
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.scenario import Scenario

_MIN_REQUESTS = 200  # a share of 0.9 is then right to 2 % or so
_MAX_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class Trial:
    """Find the goodput of a cluster, near `first_rate`; or only that it is below `floor_rate`, which is cheaper."""

    scenario: Scenario
    traffic: Traffic
    horizon_s: float  # of each simulation: a number of requests, whatever the rate, would be a burst at a high one
    first_rate: float
    goal: float
    precision: float = 0.05
    floor_rate: float = 0.0


Evaluate = Callable[[Sequence[Trial]], Iterable[Goodput]]
"""Runs trials and returns their results in the same order."""


def run_trial(trial: Trial) -> Goodput:
    """Deterministic; a rate of 0 means that not even `floor_rate` was attained."""

    def attained_at(rate: float) -> float:
        num_requests = min(_MAX_REQUESTS, max(_MIN_REQUESTS, round(rate * trial.horizon_s)))
        workload = trial.traffic.at(rate, num_requests)
        return attainment(Cluster(trial.scenario), workload, num_requests, trial.goal)

    return find_goodput(attained_at, trial.first_rate, trial.goal, trial.precision, trial.floor_rate)


def run_here(trials: Sequence[Trial]) -> Iterable[Goodput]:
    """One after the other, in this process."""
    return map(run_trial, trials)
