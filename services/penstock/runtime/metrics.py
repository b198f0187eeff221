"""Metrics cheap enough for every token: plain numbers of one event loop, rendered only when somebody scrapes.

`prometheus_client` takes a lock for each of the three numbers a histogram observation changes: 2 µs, which at 20,000
tokens a second is 4 % of a core. These cost a tenth of that and must only be changed by one thread; another may read.

A `MetricSpec` says what a metric is. It is what is exposed, and what `tools/metrics_table.py` makes docs/metrics.md of.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penstock.core.histogram import Histogram

STAGE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is: its name as exposed (counters end in _total), unit, meaning, labels, bucket bounds."""

    kind: Kind
    name: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


def counter(name: str, unit: str, meaning: str, labels: Sequence[str] = ()) -> MetricSpec:
    assert name.endswith("_total"), f"{name} is a counter"
    return MetricSpec(Kind.COUNTER, name, unit, meaning, tuple(labels))


def gauge(name: str, unit: str, meaning: str, labels: Sequence[str] = ()) -> MetricSpec:
    return MetricSpec(Kind.GAUGE, name, unit, meaning, tuple(labels))


def histogram(
    name: str, unit: str, meaning: str, labels: Sequence[str] = (), *, bounds: Sequence[float] = STAGE_BUCKETS_S
) -> MetricSpec:
    return MetricSpec(Kind.HISTOGRAM, name, unit, meaning, tuple(labels), tuple(bounds))


class Number:
    """A counter or a gauge with its labels; `value` may be changed directly."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


Child = TypeVar("Child", Number, Histogram)


class _Family(Collector, Generic[Child]):
    """One metric: a child per combination of label values, made when first asked for."""

    def __init__(self, spec: MetricSpec, fixed: tuple[str, ...], new: Callable[[], Child]) -> None:
        self.spec = spec
        self._fixed = fixed  # values of the leading labels
        self._new: Callable[[], Child] = new
        self._children: dict[tuple[str, ...], Child] = {}

    def of(self, *values: str) -> Child:
        """The child with these label values, after the fixed ones."""
        child = self._children.get(values)
        if child is None:
            assert len(self._fixed) + len(values) == len(self.spec.labels), f"{self.spec.name} has other labels"
            child = self._children[values] = self._new()
        return child

    def items(self) -> list[tuple[tuple[str, ...], Child]]:
        """Every child with its label values, the fixed ones left out."""
        return list(self._children.items())

    def collect(self) -> Iterable[Metric]:
        children = self.items()
        yield render(self.spec, ((self._fixed + values, _shown(child)) for values, child in children))

    def describe(self) -> Iterable[Metric]:
        """Lets the registry refuse a second metric of this name."""
        yield render(self.spec, ())


class Numbers(_Family[Number]):
    """A counter or a gauge."""

    def add(self, *values: str, by: float = 1) -> None:
        self.of(*values).value += by

    def set(self, *values: str, to: float) -> None:
        self.of(*values).value = to

    def replace(self, numbers: Mapping[tuple[str, ...], float]) -> None:
        """Have these children and no others, at once: what was measured before may be gone."""
        children: dict[tuple[str, ...], Number] = {}
        for values, value in numbers.items():
            children[values] = Number()
            children[values].value = value
        self._children = children


class Histograms(_Family[Histogram]):
    """A histogram."""


class AtScrape(Collector):
    """A counter or a gauge that is read when it is wanted: its label values and numbers."""

    def __init__(self, spec: MetricSpec, read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]) -> None:
        self._spec = spec
        self._read = read

    def collect(self) -> Iterable[Metric]:
        yield render(self._spec, self._read())


class Metrics:
    """Makes the metrics of a process against a registry and remembers what they are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.specs: list[MetricSpec] = []

    def numbers(self, spec: MetricSpec, *fixed: str) -> Numbers:
        return self._register(Numbers(spec, fixed, Number))

    def histograms(self, spec: MetricSpec, *fixed: str) -> Histograms:
        return self._register(Histograms(spec, fixed, lambda: Histogram(spec.bounds)))

    def number(self, spec: MetricSpec, *labels: str) -> Number:
        """The only child of a metric whose labels are all fixed."""
        return self.numbers(spec, *labels).of()

    def histogram(self, spec: MetricSpec, *labels: str) -> Histogram:
        return self.histograms(spec, *labels).of()

    def _register(self, family: "FamilyType") -> "FamilyType":
        self.specs.append(family.spec)
        self.registry.register(family)
        return family


FamilyType = TypeVar("FamilyType", Numbers, Histograms)


def process_registry() -> CollectorRegistry:
    """A registry that has the process's own figures already: memory, CPU, open files, garbage collections."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def render(spec: MetricSpec, samples: Iterable[tuple[tuple[str, ...], float | Histogram]]) -> Metric:
    """A family as the registry wants it."""
    if spec.kind is Kind.HISTOGRAM:
        family: Metric = HistogramMetricFamily(spec.name, spec.meaning, labels=spec.labels)
    elif spec.kind is Kind.COUNTER:
        family = CounterMetricFamily(spec.name.removesuffix("_total"), spec.meaning, labels=spec.labels)
    else:
        family = GaugeMetricFamily(spec.name, spec.meaning, labels=spec.labels)
    for values, sample in samples:
        if isinstance(sample, Histogram):
            family.add_metric(values, _buckets(sample), sample.sum)  # type: ignore[attr-defined]
        else:
            family.add_metric(values, sample)  # type: ignore[attr-defined]
    return family


def _shown(child: Number | Histogram) -> float | Histogram:
    return child.value if isinstance(child, Number) else child


def _buckets(sample: Histogram) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*sample.bounds, inf), sample.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == inf else str(float(bound)), total))
    return buckets
