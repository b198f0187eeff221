"""Cheap metrics must render exactly as the library's own do."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from penstock.runtime.metrics import Metrics, counter, gauge, histogram, process_registry

BOUNDS = (0.001, 0.5, 1, 60)
LABELS = ("model_name", "reason")


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_a_histogram_renders_as_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    cheap = Metrics(ours).histograms(histogram("vllm:x_seconds", "seconds", "Help.", LABELS, bounds=BOUNDS), "m")
    costly = Histogram("vllm:x_seconds", "Help.", LABELS, buckets=BOUNDS, registry=theirs)
    for value in (0.0, 0.001, 0.0011, 0.5, 0.75, 59.0, 61.0):
        cheap.of("a").observe(value)
        costly.labels("m", "a").observe(value)
    assert lines(ours) == lines(theirs)
    assert cheap.of("a").count == 7


def test_a_counter_renders_as_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    cheap = Metrics(ours).numbers(counter("vllm:tokens_total", "tokens", "Help.", LABELS), "m")
    costly = Counter("vllm:tokens", "Help.", LABELS, registry=theirs)
    cheap.add("a", by=3)
    costly.labels("m", "a").inc(3)
    assert lines(ours) == lines(theirs)


def test_a_gauge_renders_as_the_librarys_and_forgets_what_is_gone() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    cheap = Metrics(ours).numbers(gauge("penstock_age_seconds", "seconds", "Help.", ("worker",)))
    cheap.set("gone", to=1.0)
    cheap.replace({("here",): 2.5})
    Gauge("penstock_age_seconds", "Help.", ("worker",), registry=theirs).labels("here").set(2.5)
    assert lines(ours) == lines(theirs)


def test_two_metrics_of_one_name_are_refused() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.numbers(gauge("penstock_x", "things", "Help."))
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.numbers(gauge("penstock_x", "things", "Help."))


def test_a_process_tells_of_its_memory_and_open_files() -> None:
    text = generate_latest(process_registry()).decode()
    assert "process_resident_memory_bytes" in text
    assert "process_open_fds" in text
