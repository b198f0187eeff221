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

    def since(self, earlier: Sequence[int]) -> list[int]:
        """Counts of the values observed since `counts` were these."""
        return [now - before for now, before in zip(self.counts, earlier, strict=True)]


def quantile(bounds: Sequence[float], counts: Sequence[int], fraction: float) -> float | None:
    """The value below which `fraction` of the values lie, as Prometheus estimates it: linear within a bucket.

    None without values; beyond the last bound it is that bound.
    """
    rank = fraction * sum(counts)
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            if index == len(bounds):
                return bounds[-1]
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - below) / count
        below += count
    return None
