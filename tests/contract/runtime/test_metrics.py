"""The metrics endpoint of a process."""

import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from penstock.core.errors import InvalidSettings
from penstock.runtime.telemetry import serve_metrics


def test_a_registry_is_served_at_metrics_and_a_taken_port_is_refused() -> None:
    registry = CollectorRegistry()
    Counter("penstock_route", "Routes.", registry=registry).inc(3)
    address = serve_metrics(registry, "127.0.0.1:0")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        assert b"penstock_route_total 3.0" in answer.read()
    with pytest.raises(InvalidSettings, match="cannot listen there"):
        serve_metrics(registry, address)
