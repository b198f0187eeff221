"""Counts of values by bucket: cheap enough for every token, and for one thread alone."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """`counts[i]` values were at most `bounds[i]` and more than the bound before; the last count is of those beyond."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)
