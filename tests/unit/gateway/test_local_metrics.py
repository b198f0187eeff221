"""Cheap metrics must render exactly as the library's own do."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from penstock.gateway.local_metrics import LocalCounter, LocalHistogram

BOUNDS = (0.001, 0.5, 1, 60)


def lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_a_histogram_renders_as_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    cheap = LocalHistogram("vllm:x_seconds", "Help.", {"model_name": "m"}, BOUNDS, ours)
    costly = Histogram("vllm:x_seconds", "Help.", ("model_name",), buckets=BOUNDS, registry=theirs).labels("m")
    for value in (0.0, 0.001, 0.0011, 0.5, 0.75, 59.0, 61.0):
        cheap.observe(value)
        costly.observe(value)
    assert lines(ours) == lines(theirs)
    assert cheap.count == 7


def test_a_counter_renders_as_the_librarys() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    LocalCounter("vllm:tokens", "Help.", {"model_name": "m"}, ours).value += 3
    Counter("vllm:tokens", "Help.", ("model_name",), registry=theirs).labels("m").inc(3)
    assert lines(ours) == lines(theirs)
