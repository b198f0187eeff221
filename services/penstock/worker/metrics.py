"""Every metric of a worker process, read from the live objects when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penstock.decode.intake import Intake
from penstock.engine.loop import EngineLoop
from penstock.prefill.links import DecodeLinks
from penstock.transfer.counters import TransferCounters

TRANSFER_COUNTERS = {
    "num_bytes": ("bytes", "KV bytes verified at the destination."),
    "num_segments": ("segments", "Segments verified at the destination."),
    "num_resends": ("resends", "Segments sent again."),
    "num_checksum_failures": ("checksum_failures", "Segments whose checksum did not fit."),
    "num_refused": ("refused", "Segments refused: unknown reservation, other incarnation, out of range."),
    "num_failures": ("failures", "Pushes that did not arrive whole."),
    "seconds": ("seconds", "Seconds spent in pushes that arrived."),
}


class WorkerMetrics(Collector):
    """vLLM's names where vLLM has one, `penstock_*` for what is ours."""

    def __init__(  # one argument per part of the worker that has figures to show
        self,
        model_name: str,
        engine: EngineLoop,
        intake: Intake,
        links: DecodeLinks,
        sent: TransferCounters,
        received: TransferCounters,
    ) -> None:
        self._model_name = model_name
        self._engine = engine
        self._intake = intake
        self._links = links
        self._transfers = {"sent": sent, "received": received}

    def register(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        registry.register(self)
        return registry

    def collect(self) -> Iterator[Metric]:
        yield from self._vllm()
        yield from self._ours()
        yield from self._transfer()

    def _vllm(self) -> Iterator[Metric]:
        book, pool = self._engine.book, self._engine.book.pool
        for name, meaning, value in (
            ("vllm:num_requests_waiting", "Sequences accepted and not yet started.", book.num_waiting),
            ("vllm:num_requests_running", "Sequences in the running batch.", len(book.running)),
            ("vllm:kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1.", pool.num_referenced / pool.num_blocks),
        ):
            yield self._gauge(name, meaning, value)
        totals = self._engine.totals
        for name, meaning, value in (
            ("vllm:prompt_tokens", "Prompt tokens computed.", totals.num_prompt_tokens),
            ("vllm:generation_tokens", "Tokens sampled.", totals.num_sampled_tokens),
            ("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", totals.num_looked_up_tokens),
            ("vllm:prefix_cache_hits", "Prompt tokens found there.", totals.num_cached_tokens),
            ("vllm:num_preemptions", "Sequences that had to give their blocks back.", totals.num_preemptions),
        ):
            yield self._counter(name, meaning, value)

    def _ours(self) -> Iterator[Metric]:
        pool = self._engine.book.pool
        blocks = GaugeMetricFamily("penstock_kv_blocks", "KV blocks by state.", labels=["state"])
        blocks.add_metric(["referenced"], pool.num_referenced)
        blocks.add_metric(["free"], pool.num_free)
        blocks.add_metric(["quarantined"], self._intake.reservations.num_quarantined_blocks)
        yield blocks
        yield self._counter("penstock_engine_steps", "Steps run.", self._engine.totals.num_steps)
        yield self._gauge("penstock_reservations", "Reservations granted, not started.", len(self._intake.reservations))

    def _transfer(self) -> Iterator[Metric]:
        for field, (name, meaning) in TRANSFER_COUNTERS.items():
            family = CounterMetricFamily(f"penstock_transfer_{name}", meaning, labels=["direction", "transport"])
            for direction, counters in self._transfers.items():
                for transport, totals in list(counters.by_transport.items()):
                    family.add_metric([direction, transport], getattr(totals, field))
            yield family
        in_use = InfoMetricFamily("penstock_transfer_peer", "Transport in use to each peer.", labels=["peer"])
        for peer, transport in self._links.transports:
            in_use.add_metric([peer], {"transport": transport})
        yield in_use

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, meaning, labels=["model_name"])
        family.add_metric([self._model_name], value)
        return family

    def _counter(self, name: str, meaning: str, value: float) -> Metric:
        family = CounterMetricFamily(name, meaning, labels=["model_name"])
        family.add_metric([self._model_name], value)
        return family
