"""Metrics cheap enough for every token: plain numbers of one event loop, rendered only when scraped.

`prometheus_client` takes a lock for each of the three numbers a histogram observation changes: 2 µs, which at 20,000
tokens a second is 4 % of a core. These cost a tenth of that and must only be touched from one thread.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class LocalHistogram(Collector):
    """One histogram with fixed labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: dict[str, str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)  # the last one: beyond every bound
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=tuple(self._labels))
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*self._bounds, inf), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == inf else str(float(bound)), total))
        family.add_metric(tuple(self._labels.values()), buckets, self._sum)
        yield family


class LocalCounter(Collector):
    """One counter with fixed labels; `value` may be added to directly."""

    def __init__(self, name: str, documentation: str, labels: dict[str, str], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self.value = 0
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=tuple(self._labels))
        family.add_metric(tuple(self._labels.values()), self.value)
        yield family
