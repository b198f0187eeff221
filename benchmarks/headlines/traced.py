"""How much faster than it was recorded a trace can be played before objectives are missed."""

from dataclasses import replace
from math import inf

from benchmarks.headlines.experiments import GOAL
from penstock.cli.experiment import Point
from penstock.core.errors import InvalidSettings
from penstock.simulator.cluster import Cluster
from penstock.simulator.goodput import attainment, find_goodput
from penstock_loadgen.workload import generate


def attained(point: Point, speed: float, goal: float | None = None) -> float:
    """Share of the trace's requests within the objectives at `speed`; with a `goal` only on which side of it."""
    if point.workload.trace is None:
        raise InvalidSettings("workload.trace", None, "must name a trace")
    spec = replace(point.workload, trace=replace(point.workload.trace, speed=speed))
    requests = list(generate(spec))
    return attainment(Cluster(point.scenario), requests, len(requests), goal)


def largest_rate(point: Point, first_speed: float) -> float:
    """Requests per second, over the whole trace, of the largest speed whose attainment reaches GOAL."""
    found = find_goodput(lambda speed: attained(point, speed, GOAL), first_speed, GOAL, precision=0.04)
    arrivals = [request.arrived_s for request in generate(point.workload)]
    span_s = max(arrivals) - min(arrivals)
    return found.rate * (len(arrivals) - 1) / span_s if span_s else inf
