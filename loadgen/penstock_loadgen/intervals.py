"""How sure a mean over repeats is: Student's t, since repeats are few."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

# Two-sided 95 % quantiles of Student's t by degrees of freedom, from 1; beyond, the normal's.
_T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Interval:
    """`low` and `high` bound the mean with 95 % confidence; both None for a single repeat, which says nothing of it."""

    mean: float
    low: float | None
    high: float | None


def interval(values: Sequence[float]) -> Interval:
    """Of one figure over repeats."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    degrees = len(values) - 1
    t = _T_95[degrees - 1] if degrees <= len(_T_95) else _NORMAL_95
    half = t * stdev(values) / sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def intervals(repeats: Sequence[dict[str, float]]) -> dict[str, Interval]:
    """Of every figure that all repeats have."""
    names = [name for name in repeats[0] if all(name in repeat for repeat in repeats)] if repeats else []
    return {name: interval([repeat[name] for repeat in repeats]) for name in names}
