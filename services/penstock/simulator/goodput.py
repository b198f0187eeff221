"""The largest rate that still attains its objectives: DistServe's goodput (arXiv 2401.09670), found by bisection.

    rate     r        2r        4r
    attained yes      yes       no      first doubled (or halved) until the answer lies between two rates,
                       |--r'--|         then bisected, geometrically, until they are close

The search is deterministic, and each of its simulations ends as soon as the goal is reached or out of reach: an
overloaded cluster, whose queues would take longest to simulate, costs least.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from penstock.simulator.cluster import Cluster
from penstock.simulator.workload import Workload

MAX_DOUBLINGS = 12
MAX_HALVINGS = 6  # a guess 64 times too high was for a cluster that cannot meet its objectives at all


@dataclass(frozen=True, slots=True)
class Goodput:
    """`rate` 0: even the lowest rate that was tried did not attain."""

    rate: float  # requests/s
    num_runs: int


def find_goodput(
    attained_at: Callable[[float], float],
    first_rate: float,
    goal: float = 0.9,
    precision: float = 0.03,
    floor_rate: float = 0.0,
) -> Goodput:
    """The largest rate whose attainment reaches `goal`, to a fraction of `precision`; `first_rate` is a guess.

    With a `floor_rate` only answers from there on are of interest: when it is not attained, nothing else is tried.
    """
    known: dict[float, bool] = {}

    def attains(rate: float) -> bool:
        if rate not in known:
            known[rate] = attained_at(rate) >= goal
        return known[rate]

    if floor_rate and not attains(floor_rate):
        return Goodput(0.0, len(known))
    low, high = _bracket(attains, max(first_rate, floor_rate), floor_rate)
    while low and high > low * (1 + precision):
        middle = sqrt(low * high)
        low, high = (middle, high) if attains(middle) else (low, middle)
    return Goodput(low, len(known))


def attainment(cluster: Cluster, workload: Workload, num_requests: int, goal: float | None = None) -> float:
    """Share of `num_requests` that meets the cluster's objectives; failed ones have missed.

    With a `goal` the simulation stops as soon as it is decided: what is returned is then only known to be on the right
    side of it, and is the share as far as it got.
    """
    totals = cluster.metrics.totals
    num_needed = num_requests if goal is None else goal * num_requests - 1e-9

    def stop_when_decided(num_ended: int) -> None:
        num_missed = totals.num_finished + totals.num_failed - totals.num_met
        if totals.num_met >= num_needed or num_missed > num_requests - num_needed:
            cluster.events.stop()

    if goal is not None:
        cluster.on_progress = stop_when_decided
    cluster.run(workload)
    return totals.num_met / num_requests


def _bracket(attains: Callable[[float], bool], rate: float, floor_rate: float) -> tuple[float, float]:
    """Two rates, at most a factor of 2 apart: the lower attains, the higher does not. (0, .) when none attains.

    `floor_rate` is known to attain, unless it is 0.
    """
    if attains(rate):
        for _ in range(MAX_DOUBLINGS):
            if not attains(2 * rate):
                return rate, 2 * rate
            rate *= 2
        return rate, rate
    for _ in range(MAX_HALVINGS):
        lower = max(rate / 2, floor_rate)
        if lower == floor_rate or attains(lower):
            return lower, rate
        rate = lower
    return 0.0, rate
