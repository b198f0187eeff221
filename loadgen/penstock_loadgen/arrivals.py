"""When sessions arrive: endless streams of seconds, determined by the generator they are given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import sqrt
from random import Random

from penstock.core.errors import InvalidSettings

CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ArrivalSpec:
    """`rate` is sessions per second on average; most sessions are one request.

    Open loop, by their gaps: poisson (exponential), gamma (`cv` is their coefficient of variation: 1 is Poisson, more
    is burstier), uniform (all equal), ramp (Poisson; its rate goes from `rate` to `end_rate` within `ramp_s`).
    Closed loop: `concurrency` sessions are under way at any time, and each that ends makes room for the next.
    """

    kind: str = "poisson"
    rate: float = 1.0
    cv: float = 1.0
    end_rate: float = 1.0
    ramp_s: float = 60.0
    concurrency: int = 1

    def __post_init__(self) -> None:
        kinds = (*_TIMES, CLOSED)
        if self.kind not in kinds:
            raise InvalidSettings("workload.arrivals.kind", self.kind, f"must be one of {', '.join(kinds)}")
        for name in ("rate", "cv", "end_rate", "ramp_s", "concurrency"):
            if not getattr(self, name) > 0:
                raise InvalidSettings(f"workload.arrivals.{name}", getattr(self, name), "must be above 0")

    @property
    def is_closed(self) -> bool:
        return self.kind == CLOSED

    def at_rate(self, rate: float) -> "ArrivalSpec":
        """The same shape at another rate; of a ramp, the rate it begins with."""
        return replace(self, rate=rate, end_rate=self.end_rate * rate / self.rate)


def arrival_times(spec: ArrivalSpec, random: Random) -> Iterator[float]:
    """Seconds from 0, ascending, for ever. Of a closed loop nothing is known beforehand: all are 0."""
    if spec.is_closed:
        while True:
            yield 0.0
    yield from _TIMES[spec.kind](spec, random)


def _poisson(spec: ArrivalSpec, random: Random) -> Iterator[float]:
    now_s = 0.0
    while True:
        now_s += random.expovariate(spec.rate)
        yield now_s


def _gamma(spec: ArrivalSpec, random: Random) -> Iterator[float]:
    shape, now_s = 1 / spec.cv**2, 0.0
    while True:
        now_s += random.gammavariate(shape, 1 / (spec.rate * shape))
        yield now_s


def _uniform(spec: ArrivalSpec, random: Random) -> Iterator[float]:
    number = 0
    while True:
        number += 1
        yield number / spec.rate


def _ramp(spec: ArrivalSpec, random: Random) -> Iterator[float]:
    """A Poisson process of rate 1 in the time of the expected number of arrivals, N(t) = rate t + slope t² / 2."""
    slope = (spec.end_rate - spec.rate) / spec.ramp_s
    num_in_ramp = (spec.rate + spec.end_rate) / 2 * spec.ramp_s
    expected = 0.0
    while True:
        expected += random.expovariate(1.0)
        if expected >= num_in_ramp:
            yield spec.ramp_s + (expected - num_in_ramp) / spec.end_rate
        elif slope == 0:
            yield expected / spec.rate
        else:
            yield (sqrt(spec.rate**2 + 2 * slope * expected) - spec.rate) / slope


_TIMES: dict[str, Callable[[ArrivalSpec, Random], Iterator[float]]] = {
    "poisson": _poisson,
    "gamma": _gamma,
    "uniform": _uniform,
    "ramp": _ramp,
}
