"""Runs the committed scenario files of the headlines: `scenarios/headlines/PAPER/NAME.yaml`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from penstock.cli.experiment import Point, points, read_file, with_overrides
from penstock.core.errors import InvalidSettings
from penstock.simulator.cluster import Cluster
from penstock.simulator.goodput import Goodput, attainment, find_goodput
from penstock.simulator.report import Report, report
from penstock_loadgen.workload import generate

REPOSITORY = Path(__file__).parents[2]
SCENARIOS = REPOSITORY / "scenarios" / "headlines"
GOAL = 0.9  # of attainment, as the papers have it


def load(paper: str, name: str, overrides: Sequence[str] = ()) -> Point:
    """The one run that a scenario file describes, with every KEY=VALUE of `overrides` put in, as `--set` does."""
    path = SCENARIOS / paper / f"{name}.yaml"
    found = list(points(with_overrides(read_file(path), overrides)))
    if len(found) != 1:
        raise InvalidSettings("scenario", str(path), "must describe a single run, without a sweep")
    return found[0]


def run(point: Point) -> Report:
    """Simulate it to its end."""
    cluster = Cluster(point.scenario)
    cluster.run(generate(point.workload))
    return report(cluster)


def goodput(point: Point, first_rate: float, precision: float) -> Goodput:
    """The largest arrival rate at which a share of GOAL meets the scenario's objectives; its own rate is ignored.

    Every rate draws the same lengths, so that rates are compared on the same requests.
    """
    workload = point.workload
    if workload.trace is not None:
        raise InvalidSettings("workload.trace", workload.trace.path, "a trace has its own arrivals; sweep its speed")

    def attained(rate: float) -> float:
        spec = replace(workload, arrivals=replace(workload.arrivals, rate=rate))
        return attainment(Cluster(point.scenario), generate(spec), spec.num_requests, GOAL)

    return find_goodput(attained, first_rate, GOAL, precision)
