"""Metrics of a worker: read from its live objects at the moment of the scrape."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from penstock.transfer.counters import TransferCounters
from penstock.worker.metrics import TRANSFER_COUNTERS, WorkerMetrics
from tests.unit.decode.decode_worker import KEY, DecodeWorker, decode_worker, request
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.virtual_time import in_virtual_time, pass_time, settle


class FakeLinks:
    transports: tuple[tuple[str, str], ...] = ()


class Scraped:
    def __init__(self, worker: DecodeWorker) -> None:
        self.links = FakeLinks()
        self.sent, self.received = TransferCounters(), TransferCounters()
        links: Any = self.links
        metrics = WorkerMetrics("tiny", worker.engine, worker.intake, links, self.sent, self.received)
        self.registry: CollectorRegistry = metrics.register()

    def __getitem__(self, name: str) -> float | None:
        return self.registry.get_sample_value(name, {"model_name": "tiny"})

    def get(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@asynccontextmanager
async def scraped() -> AsyncIterator[tuple[DecodeWorker, Scraped]]:
    async with decode_worker() as worker:
        yield worker, Scraped(worker)


NAMES = {
    "vllm:num_requests_waiting",
    "vllm:num_requests_running",
    "vllm:kv_cache_usage_perc",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:num_preemptions_total",
    "penstock_kv_blocks",
    "penstock_engine_steps_total",
    "penstock_reservations",
}


@in_virtual_time
async def test_names_are_those_that_dashboards_know_and_there_from_the_start() -> None:
    async with scraped() as (_, metrics):
        samples = [sample for family in metrics.registry.collect() for sample in family.samples]
        assert {sample.name for sample in samples} == NAMES
        labels = {sample.name: set(sample.labels) for sample in samples}
        assert labels.pop("penstock_kv_blocks") == {"state"}
        assert set(map(frozenset, labels.values())) == {frozenset({"model_name"})}
        assert {sample.value for sample in samples} == {0.0, 64.0}  # 64: the free blocks


@in_virtual_time
async def test_a_request_on_its_way_through() -> None:
    async with scraped() as (worker, metrics):
        worker.engine.book.accept(request(40, max_tokens=4), worker.decoder, is_prefill_only=False)
        assert (metrics["vllm:num_requests_waiting"], metrics["vllm:num_requests_running"]) == (1, 0)
        assert metrics["vllm:kv_cache_usage_perc"] == 3 / 64
        worker.engine.book.release(next(iter(worker.engine.book.owners)))
        for handle in range(2):
            await worker.hand_over(request(40, handle, max_tokens=4, first=100 * handle), handle)
        await settle()
        assert (metrics["vllm:num_requests_waiting"], metrics["vllm:num_requests_running"]) == (0, 2)
        await pass_time(10 * STEP_S)
        assert metrics["vllm:num_requests_running"] == 0
        assert metrics["vllm:generation_tokens_total"] == 2 * 3
        assert metrics["penstock_engine_steps_total"] == 3
        assert metrics["vllm:prompt_tokens_total"] == 0  # computed elsewhere


@in_virtual_time
async def test_prompts_and_what_of_them_was_cached() -> None:
    class Owner:
        def on_start(self, sequence: object) -> None: ...

        def on_layers(self, items: object, layers: object) -> None: ...

        def on_tokens(self, step: int, events: object) -> None: ...

    async with scraped() as (worker, metrics):
        for handle in range(2):
            worker.engine.book.accept(request(40, handle, max_tokens=1), Owner(), is_prefill_only=False)
            await pass_time(3 * STEP_S)
        assert metrics["vllm:prompt_tokens_total"] == 40 + 8
        assert metrics["vllm:prefix_cache_queries_total"] == 80
        assert metrics["vllm:prefix_cache_hits_total"] == 32


@in_virtual_time
async def test_blocks_by_state_and_promises() -> None:
    async with scraped() as (worker, metrics):
        worker.reserve(request(40), 1)
        worker.reserve(request(20, handle=1, first=100), 2)
        worker.intake.cancel(KEY)
        assert metrics["penstock_reservations"] == 2
        blocks = {state: metrics.get("penstock_kv_blocks", state=state) for state in ("referenced", "free")}
        assert blocks == {"referenced": 5, "free": 59}
        assert metrics.get("penstock_kv_blocks", state="quarantined") == 3
        worker.call(released=[1, 2])
        assert metrics["penstock_reservations"] == 0


@pytest.mark.parametrize(("field", "name"), [(field, name) for field, (name, _) in TRANSFER_COUNTERS.items()])
@in_virtual_time
async def test_transfers_by_direction_and_transport(field: str, name: str) -> None:
    async with scraped() as (_, metrics):
        setattr(metrics.sent.of("ucx"), field, 5)
        setattr(metrics.received.of("tcp"), field, 7)
        name = f"penstock_transfer_{name}_total"
        assert metrics.get(name, direction="sent", transport="ucx") == 5
        assert metrics.get(name, direction="received", transport="tcp") == 7
        assert metrics.get(name, direction="received", transport="ucx") is None


@in_virtual_time
async def test_the_transport_to_each_peer() -> None:
    async with scraped() as (_, metrics):
        metrics.links.transports = (("decode-0", "ucx"), ("decode-1", "tcp"))
        assert metrics.get("penstock_transfer_peer_info", peer="decode-0", transport="ucx") == 1
        metrics.links.transports = (("decode-1", "tcp"),)
        assert metrics.get("penstock_transfer_peer_info", peer="decode-0", transport="ucx") is None
