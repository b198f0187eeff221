"""A live system under load, as operators see it: every dashboard's queries, every rule, one whole trace, an alert.

One system for all of it, because starting one is what takes the time. The worker is killed last.
"""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.collector import Collected, Collector, running_collector
from tests.integration.prometheus import Prometheus, running_prometheus
from tests.integration.system import System, running_system

TRACE_ID, CLIENT_SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COSTS = "--mock-costs=prefill_s=0.005,prefill_s_per_token=1e-5,decode_s=0.005"
FLAGS = ("--engine=mock", "--prefill=2", "--decode=2", "--max-num-sequences=3", "--log-level=warning", COSTS)
DASHBOARDS = sorted((Path(__file__).parents[2] / "deploy" / "grafana").glob("*.json"))
FAULTS = {
    "sum by (reason) (rate(penstock_resumes_total[15s]))": "no worker is lost before the queries are made",
    "sum by (by, outcome) (increase(penstock_role_changes_total[15s]))": "nobody orders a change of roles",
}
"""Queries that may return nothing, and why."""

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus here: apt-get install prometheus"
)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with running_collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def chat(**options: Any) -> dict[str, Any]:
    message = {"role": "user", "content": "What turns the wheel of the mill by the river?"}
    return {"messages": [message], "max_tokens": 24, "stream": True, **options}


async def stream(
    client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str], num_lines: int = 1000
) -> None:
    """Read an answer to its end, or leave after some lines."""
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.is_success
        num_read = 0
        async for _ in answer.aiter_lines():
            num_read += 1
            if num_read >= num_lines:
                return


async def load(client: httpx.AsyncClient, seconds: float) -> None:
    """More at once than the workers take, a client that leaves, one that is wrong; bounded in count and time."""
    end_s = asyncio.get_running_loop().time() + seconds

    async def keep_asking(number: int) -> None:
        while asyncio.get_running_loop().time() < end_s:
            await stream(client, chat(seed=number), {"x-tenant-id": f"tenant-{number % 3}"})

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(keep_asking(number))
        while asyncio.get_running_loop().time() < end_s:
            await stream(client, chat(max_tokens=400), {}, num_lines=8)
            await client.post("/v1/chat/completions", json=chat(temperature=9))
            await asyncio.sleep(0.5)


async def trace_one(client: httpx.AsyncClient) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{CLIENT_SPAN_ID}-01", "x-request-id": "the-traced-one"}
    await stream(client, chat(), headers)


def check_tree(spans: list[Collected]) -> None:
    """Every span hangs on another or on the client's, runs where it should, and stages are in order."""
    by_id = {collected.span["spanId"]: collected for collected in spans}
    parents = {
        collected.name: by_id[parent].name if (parent := collected.span.get("parentSpanId")) in by_id else parent
        for collected in spans
    }
    assert parents == {
        "chat penstock-tiny": CLIENT_SPAN_ID,
        "route": "chat penstock-tiny",
        "rank": "route",
        "attempt": "chat penstock-tiny",
        "serve prefill": "attempt",
        "queue": "serve prefill",
        "prefill": "serve prefill",
        "reserve": "serve prefill",
        "transfer": "serve prefill",
        "serve decode": "transfer",
        "decode_wait": "serve decode",
        "decode": "serve decode",
    }
    services = {collected.name: collected.service for collected in spans}
    assert {services[name] for name in ("chat penstock-tiny", "route", "attempt")} == {"penstock-gateway"}
    assert services["rank"] == "penstock-router"
    assert services["prefill"] == services["transfer"] == "penstock-prefill"
    assert services["decode"] == "penstock-decode"
    named = {collected.name: collected for collected in spans}
    slack_ns = 5_000_000  # processes read the wall clock at different moments of their lives
    for earlier, later in (("route", "attempt"), ("queue", "prefill"), ("decode_wait", "decode")):
        assert named[earlier].ended_ns <= named[later].began_ns + slack_ns, (earlier, later)
    for child, parent in (("rank", "route"), ("prefill", "serve prefill"), ("serve decode", "attempt")):
        assert named[parent].began_ns <= named[child].began_ns + slack_ns, (child, parent)
        assert named[child].ended_ns <= named[parent].ended_ns + slack_ns, (child, parent)


async def check_queries(prometheus: Prometheus) -> None:
    """Every query of every dashboard returns data."""
    empty: list[str] = []
    num_queries = 0
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$__rate_interval", "15s")
                num_queries += 1
                if not await prometheus.query(expr) and expr not in FAULTS:
                    empty.append(f"{path.name}: {panel['title']}: {expr}")
    assert num_queries > 80
    assert not empty, "\n".join(empty)


async def check_rules(prometheus: Prometheus) -> None:
    """Every rule evaluates, and every recorded series is there; alerts only compare recorded series."""
    rules = await prometheus.rules()
    assert len(rules) > 50
    assert not [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    assert not [name for name in sorted(recorded) if not await prometheus.query(name)]
    for rule in (rule for rule in rules if rule["type"] == "alerting"):
        assert any(name in rule["query"] for name in recorded), rule["name"]


async def until_fires(prometheus: Prometheus, alert: str) -> None:
    while not await prometheus.query(f'ALERTS{{alertname="{alert}", alertstate="firing"}}'):
        await asyncio.sleep(0.2)


async def check_counts(prometheus: Prometheus, client: httpx.AsyncClient, system: System) -> None:
    """Prometheus has every process there is, and counts what the gateway counts."""
    components = [target["labels"]["component"] for target in await prometheus.targets() if target["health"] == "up"]
    assert sorted(components) == ["gateway", "scheduler", "scheduler", "worker", "worker", "worker", "worker"]
    text = (await client.get("/metrics")).text
    (answered,) = await prometheus.query('sum(penstock_requests_total{outcome="answered"})')
    lines = [line for line in text.splitlines() if line.startswith('penstock_requests_total{outcome="answered"')]
    assert float(answered["value"][1]) == sum(float(line.split()[-1]) for line in lines)


@needs_prometheus
@pytest.mark.timeout(180)
async def test_dashboards_rules_and_traces_show_a_live_system(tmp_path: Path, collector: Collector) -> None:
    limits = httpx.Limits(max_connections=None)
    async with running_system(*FLAGS) as system, asyncio.timeout(120):
        client = httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=60.0, limits=limits)
        async with client, running_prometheus(system.port, tmp_path) as prometheus:
            await system.wait_for_workers(4)
            await trace_one(client)
            await load(client, seconds=8.0)
            await asyncio.sleep(2.5)  # for a last scrape, evaluation and export
            check_tree(collector.of_trace(TRACE_ID))
            await check_queries(prometheus)
            await check_rules(prometheus)
            await check_counts(prometheus, client, system)
            system.kill("decode-0")
            await until_fires(prometheus, "PenstockWorkerLost")
