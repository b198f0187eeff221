"""Metrics of a worker: read from its live objects at the moment of the scrape."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from penstock.core.types import Role, WorkerRef, WorkerState
from penstock.runtime.metrics import Kind
from penstock.transfer.counters import TransferCounters
from penstock.worker.metrics import WORKER_METRICS, WorkerMetrics, WorkerParts
from tests.unit.decode.decode_worker import KEY, DecodeWorker, decode_worker, request
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.virtual_time import in_virtual_time, pass_time, settle


class Scraped:
    def __init__(self, worker: DecodeWorker) -> None:
        self.sent, self.received = TransferCounters(), TransferCounters()
        self.state = WorkerState(WorkerRef("decode-0", 1, ""), Role.DECODE, "g", version="1.2", num_prefill_tokens=9)
        steps: Any = worker.engine.runner
        parts = WorkerParts(worker.engine, steps, worker.intake, self.sent, self.received, lambda: self.state)
        self.registry = CollectorRegistry()
        self.registry.register(WorkerMetrics("decode-0", "tiny", parts))

    def __getitem__(self, name: str) -> float | None:
        labels = {"model_name": "tiny"} if name.startswith("vllm:") else {}
        return self.get(name, **labels)

    def get(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"worker": "decode-0", **labels})


@asynccontextmanager
async def scraped() -> AsyncIterator[tuple[DecodeWorker, Scraped]]:
    async with decode_worker() as worker:
        yield worker, Scraped(worker)


@in_virtual_time
async def test_all_that_is_declared_is_exposed_with_its_labels_and_nothing_else() -> None:
    async with scraped() as (worker, metrics):
        metrics.state = replace(metrics.state, transports=(("decode-1", "tcp"),))
        metrics.sent.of("ucx").num_bytes = 1
        metrics.received.of("tcp").num_bytes = 1
        await worker.hand_over(request(40, max_tokens=4), 1)
        await pass_time(10 * STEP_S)
        families = list(metrics.registry.collect())
        exposed = {
            (sample.name, frozenset(sample.labels) - {"le"})
            for family in families
            for sample in family.samples
            if not sample.name.endswith(("_bucket", "_sum"))
        }
        declared = {
            (spec.name + ("_count" if spec.kind is Kind.HISTOGRAM else ""), frozenset(spec.labels))
            for spec in WORKER_METRICS
        }
        assert exposed == declared


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
        assert metrics["penstock_step_sequences_count"] == 3
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
        blocks = {state: metrics.get("penstock_kv_blocks", state=state) for state in ("used", "free")}
        assert blocks == {"used": 2, "free": 59}
        assert metrics.get("penstock_kv_blocks", state="quarantined") == 3
        worker.call(released=[1, 2])
        assert metrics["penstock_reservations"] == 0


@in_virtual_time
async def test_a_shared_prefix_is_in_use_and_never_counted_twice() -> None:
    async with scraped() as (worker, metrics):
        await worker.hand_over(request(40, max_tokens=2), 1)
        await pass_time(3 * STEP_S)  # leaves two blocks in the prefix cache
        for handle in (1, 2, 3):
            worker.reserve(request(40, handle), handle)
            worker.intake.cancel(("gateway", handle))
        blocks = {state: metrics.get("penstock_kv_blocks", state=state) for state in ("used", "quarantined")}
        assert blocks == {"used": 2, "quarantined": 3}
        worker.call(released=[1, 2, 3])
        await pass_time(10.0)


@in_virtual_time
async def test_pauses_for_more_urgent_prompts() -> None:
    async with scraped() as (worker, metrics):
        worker.engine.totals.num_yields = 2
        assert metrics["penstock_prefill_yields_total"] == 2


TRANSFERS = {
    "num_bytes": "bytes",
    "num_segments": "segments",
    "num_resends": "resends",
    "num_checksum_failures": "checksum_failures",
    "num_refused": "refused",
    "num_failures": "failures",
    "seconds": "seconds",
}


@pytest.mark.parametrize(("field", "name"), TRANSFERS.items())
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
        metrics.state = replace(metrics.state, transports=(("decode-0", "ucx"), ("decode-1", "tcp")))
        assert metrics.get("penstock_transfer_peer_info", peer="decode-0", transport="ucx") == 1
        metrics.state = replace(metrics.state, transports=(("decode-1", "tcp"),))
        assert metrics.get("penstock_transfer_peer_info", peer="decode-0", transport="ucx") is None


@in_virtual_time
async def test_what_the_worker_is_now() -> None:
    async with scraped() as (_, metrics):
        assert metrics.get("penstock_worker_info", role="decode", group="g", version="1.2") == 1
        assert metrics["penstock_worker_draining"] == 0
        assert metrics["penstock_pending_prompt_tokens"] == 9
        metrics.state = replace(metrics.state, role=Role.PREFILL, is_draining=True)
        assert metrics.get("penstock_worker_info", role="decode", group="g", version="1.2") is None
        assert metrics.get("penstock_worker_info", role="prefill", group="g", version="1.2") == 1
        assert metrics["penstock_worker_draining"] == 1


@in_virtual_time
async def test_steps_by_what_they_ran() -> None:
    async with scraped() as (worker, metrics):
        for handle in range(2):
            await worker.hand_over(request(40, handle, max_tokens=4, first=100 * handle), handle)
        await pass_time(10 * STEP_S)
        assert metrics.get("penstock_step_seconds_count", kind="decode") == 3
        assert metrics.get("penstock_step_seconds_sum", kind="decode") == pytest.approx(3 * STEP_S)
        assert metrics.get("penstock_step_seconds_count", kind="prefill") == 0
        assert metrics["penstock_step_sequences_sum"] == 6
        assert metrics["vllm:iteration_tokens_total_sum"] == 6
