"""When requests arrive: endless streams of seconds, determined by the generator they are given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from penstock.core.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class ArrivalSpec:
    """`rate` is requests per second on average; `cv` the coefficient of variation of gaps, for gamma."""

    kind: str = "poisson"  # gaps: poisson (exponential), gamma, uniform (all equal)
    rate: float = 1.0
    cv: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in _GAPS:
            raise InvalidSettings("workload.arrivals.kind", self.kind, f"must be one of {', '.join(_GAPS)}")
        if not self.rate > 0 or not self.cv > 0:
            raise InvalidSettings("workload.arrivals", f"rate={self.rate}, cv={self.cv}", "both must be above 0")


def arrival_times(spec: ArrivalSpec, random: Random) -> Iterator[float]:
    """Seconds from 0, ascending, for ever."""
    gap_s, now_s = _GAPS[spec.kind], 0.0
    while True:
        now_s += gap_s(spec, random)
        yield now_s


def _poisson(spec: ArrivalSpec, random: Random) -> float:
    return random.expovariate(spec.rate)


def _gamma(spec: ArrivalSpec, random: Random) -> float:
    shape = 1 / spec.cv**2
    return random.gammavariate(shape, 1 / (spec.rate * shape))


def _uniform(spec: ArrivalSpec, random: Random) -> float:
    return 1 / spec.rate


_GAPS: dict[str, Callable[[ArrivalSpec, Random], float]] = {"poisson": _poisson, "gamma": _gamma, "uniform": _uniform}
