"""The HTTP endpoint of a process that has no other: metrics for Prometheus, answers for probes."""

import asyncio
import threading

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from penstock.core.errors import InvalidSettings
from penstock.runtime import status_server
from penstock.runtime.metrics import Metrics, gauge
from penstock.runtime.status_server import serve_status


async def get(address: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        return await client.get(path)


async def test_a_registry_is_served_at_metrics_and_a_taken_port_is_refused() -> None:
    registry = CollectorRegistry()
    Counter("penstock_route", "Routes.", registry=registry).inc(3)
    address = serve_status(registry, "127.0.0.1:0", lambda: True)
    assert "penstock_route_total 3.0" in (await get(address, "/metrics")).text
    with pytest.raises(InvalidSettings, match="cannot listen there"):
        serve_status(registry, address, lambda: True)


async def test_names_keep_their_colon_whichever_format_a_scraper_would_rather_have() -> None:
    registry = CollectorRegistry()
    Metrics(registry).number(gauge("vllm:num_requests_waiting", "sequences", "Waiting."))
    address = serve_status(registry, "127.0.0.1:0", lambda: True)
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert "\nvllm:num_requests_waiting 0.0\n" in answer.text


async def test_readiness_follows_the_process_and_health_does_not() -> None:
    is_ready = False
    address = serve_status(CollectorRegistry(), "127.0.0.1:0", lambda: is_ready)
    assert [(await get(address, path)).status_code for path in ("/ready", "/health", "/other")] == [503, 200, 404]
    is_ready = True
    assert (await get(address, "/ready")).status_code == 200


async def test_a_stuck_event_loop_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "TURN_TIMEOUT_S", 0.1)
    address = serve_status(CollectorRegistry(), "127.0.0.1:0", lambda: True)
    answers: list[int] = []
    asked = threading.Thread(target=lambda: answers.append(httpx.get(f"http://{address}/health").status_code))
    asked.start()
    asked.join(10)  # the loop stands still as long as this waits
    assert answers == [503]
    assert (await asyncio.wait_for(get(address, "/health"), 5)).status_code == 200
