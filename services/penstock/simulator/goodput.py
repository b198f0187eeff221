"""The largest rate that still attains its objectives: DistServe's goodput (arXiv 2401.09670), found by bisection.

    rate     r        2r        4r
    attained yes      yes       no      first doubled (or halved) until the answer lies between two rates,
                       |--r'--|         then bisected, geometrically, until they are close

The search is deterministic, and each of its simulations ends as soon as the goal is out of reach: an overloaded
cluster, whose queues take longest to simulate, costs least.
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
    attained: float  # share of requests that met their objectives at that rate
    num_runs: int


def find_goodput(
    attained_at: Callable[[float], float], first_rate: float, goal: float = 0.9, precision: float = 0.03
) -> Goodput:
    """The largest rate whose attainment reaches `goal`, to a fraction of `precision`; `first_rate` is a guess."""
    known: dict[float, float] = {}

    def attains(rate: float) -> bool:
        if rate not in known:
            known[rate] = attained_at(rate)
        return known[rate] >= goal

    low, high = _bracket(attains, first_rate)
    while low and high > low * (1 + precision):
        middle = sqrt(low * high)
        low, high = (middle, high) if attains(middle) else (low, middle)
    return Goodput(low, known.get(low, 0.0), len(known))


def attainment(cluster: Cluster, workload: Workload, num_requests: int, goal: float = 0.0) -> float:
    """Share of `num_requests` that meets the cluster's objectives; failed ones have missed.

    The simulation stops when so many have missed that `goal` is out of reach: what is returned is then only known to
    be below it.
    """
    totals = cluster.metrics.totals
    max_missed = (1 - goal) * num_requests + 1e-9

    def stop_when_hopeless(num_ended: int) -> None:
        if totals.num_finished + totals.num_failed - totals.num_met > max_missed:
            cluster.events.stop()

    cluster.on_progress = stop_when_hopeless
    cluster.run(workload)
    return totals.num_met / num_requests


def _bracket(attains: Callable[[float], bool], rate: float) -> tuple[float, float]:
    """Two rates, a factor of 2 apart, of which the lower attains and the higher does not; (0, ...) when none does."""
    if attains(rate):
        for _ in range(MAX_DOUBLINGS):
            if not attains(2 * rate):
                return rate, 2 * rate
            rate *= 2
        return rate, rate
    for _ in range(MAX_HALVINGS):
        if attains(rate / 2):
            return rate / 2, rate
        rate /= 2
    return 0.0, rate
