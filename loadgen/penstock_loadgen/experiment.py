"""An experiment: trials of one workload on one target, and what they say together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from penstock.simulator.goodput import find_goodput
from penstock_loadgen.intervals import Interval, intervals
from penstock_loadgen.summary import Repeat, by_class, summarize_run
from penstock_loadgen.targets import Outcome
from penstock_loadgen.workload import WorkloadSpec


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: everything it left, and its sum."""

    outcome: Outcome
    repeat: Repeat

    @classmethod
    def of(cls, workload: WorkloadSpec, outcome: Outcome) -> "Trial":
        """Sum a run up."""
        records = outcome.records
        return cls(
            outcome,
            Repeat(workload.seed, workload.rate, summarize_run(records), outcome.validity, by_class(records)),
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """One rate that was tried."""

    rate: float
    attained: float
    is_valid: bool


@dataclass(frozen=True, slots=True)
class GoodputFound:
    """`rate` 0: even the lowest rate that was tried did not attain the goal."""

    rate: float
    attained: float
    goal: float
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """What reports are made of."""

    name: str
    target: dict[str, Any]
    workload: WorkloadSpec
    repeats: tuple[Repeat, ...]
    intervals: dict[str, Interval] = field(default_factory=dict)
    goodput: GoodputFound | None = None

    @classmethod
    def of(cls, workload: WorkloadSpec, target: dict[str, Any], trials: Sequence[Trial]) -> "Experiment":
        """Trials together."""
        repeats = tuple(trial.repeat for trial in trials)
        sure = intervals([repeat.summary.figures() for repeat in repeats])
        return cls(workload.name or "bench", target, workload, repeats, sure)

    @property
    def is_valid(self) -> bool:
        return all(repeat.validity.is_valid for repeat in self.repeats)

    @property
    def rate_unit(self) -> str:
        """Of what goodput was searched over."""
        return "times the trace's speed" if self.workload.trace else "sessions/s"

    @property
    def described_workload(self) -> dict[str, Any]:
        """The whole specification, without keys, and null for what is unbounded."""
        described: dict[str, Any] = plain(asdict(self.workload))
        return described

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        data: dict[str, Any] = plain(
            {
                "name": self.name,
                "is_valid": self.is_valid,
                "target": self.target,
                "workload": asdict(self.workload),
                "repeats": [repeat.as_data() for repeat in self.repeats],
                "intervals": {name: asdict(one) for name, one in self.intervals.items()},
                "goodput": asdict(self.goodput) if self.goodput else None,
            }
        )
        return data


def plain(value: Any) -> Any:
    """What JSON can say, and others may read: no keys, and null for infinity, which means "none" here."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "api_key"}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def search_goodput(
    attained_at: Callable[[float], Trial], first_rate: float, goal: float, precision: float
) -> GoodputFound:
    """Bisect for the highest rate that attains `goal`. A rate the client could not send counts as not attained."""
    probes: list[Probe] = []

    def share(rate: float) -> float:
        repeat = attained_at(rate).repeat
        probes.append(Probe(rate, repeat.summary.attainment, repeat.validity.is_valid))
        return repeat.summary.attainment if repeat.validity.is_valid else 0.0

    rate = find_goodput(share, first_rate, goal, precision).rate
    attained = next((probe.attained for probe in probes if probe.rate == rate), 0.0)
    return GoodputFound(rate, attained, goal, tuple(sorted(probes, key=lambda probe: probe.rate)))
