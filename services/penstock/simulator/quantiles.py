"""Percentiles of a stream of seconds in memory that does not grow with it.

The first values are kept as they are and summarised by `core.timeline.summarize`, exactly as the live system's are.
Beyond MAX_EXACT they are counted in buckets whose bounds grow by 0.5 %: percentiles are then right to that fraction;
count, mean and maximum stay exact.
"""

from array import array
from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from penstock.core.timeline import Summary, summarize

MAX_EXACT = 65_536  # values, 512 KiB
_GROWTH = 1.005
_SMALLEST_S = 1e-6  # everything shorter counts as this
_NUM_BUCKETS = ceil(np.log(1e6 / _SMALLEST_S) / np.log(_GROWTH)) + 1  # up to a million seconds


class Quantiles:
    """Takes values in, gives a Summary out."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0
        self._max = 0.0
        self._exact: array[float] | None = array("d")
        self._buckets: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, values: Sequence[float]) -> None:
        """Enter some values, none negative."""
        if not values:
            return
        self._count += len(values)
        self._sum += sum(values)
        self._max = max(self._max, *values)
        if self._exact is not None and self._count <= MAX_EXACT:
            self._exact.extend(values)
            return
        if self._exact is not None:
            self._buckets = np.zeros(_NUM_BUCKETS, np.int64)
            self._enter(self._exact)
            self._exact = None
        self._enter(values)

    def summary(self) -> Summary | None:
        """None when nothing was entered."""
        if self._exact is not None:
            return summarize(self._exact)
        cumulative = np.cumsum(self._buckets)

        def at(fraction: float) -> float:
            bucket = int(np.searchsorted(cumulative, fraction * (self._count - 1), side="right"))
            return min(self._max, float(_SMALLEST_S * _GROWTH ** (bucket + 0.5)))

        return Summary(self._count, self._sum / self._count, at(0.5), at(0.9), at(0.95), at(0.99), self._max)

    def _enter(self, values: Sequence[float]) -> None:
        scaled = np.maximum(np.asarray(values, np.float64), _SMALLEST_S) / _SMALLEST_S
        buckets = (np.log(scaled) / np.log(_GROWTH)).astype(np.int64)
        self._buckets += np.bincount(np.minimum(buckets, _NUM_BUCKETS - 1), minlength=_NUM_BUCKETS)
