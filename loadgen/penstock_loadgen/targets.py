"""The two things an experiment can be run on: a live endpoint, and a simulated cluster. Both give the same outcome."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from penstock.simulator.cluster import Cluster
from penstock.simulator.scenario import Scenario
from penstock_loadgen.cluster_watch import ClusterEvent, ClusterHistory, ClusterWatch, PoolPoint
from penstock_loadgen.endpoint import (
    NUM_CALIBRATION_REQUESTS,
    Calibration,
    EndpointSpec,
    calibrate,
    served_model,
)
from penstock_loadgen.live_run import Patience
from penstock_loadgen.meter import Meter
from penstock_loadgen.processes import LivePlan, Loaders, OnReading
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.simulated_run import play
from penstock_loadgen.validity import MAX_LATENESS_S, Validity, judge
from penstock_loadgen.workload import WorkloadSpec, refuse_unsendable_images

_SIMULATED_READING_STEP = 200  # requests: to look more often costs more than to simulate


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run."""

    records: list[RequestRecord]
    validity: Validity
    history: ClusterHistory = field(default_factory=ClusterHistory)
    is_interrupted: bool = False


class Target(Protocol):
    """Something that answers requests."""

    def run(self, workload: WorkloadSpec, on_reading: OnReading) -> Outcome: ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class LiveTarget:
    """An endpoint that has said what it serves and how long its tokens are."""

    endpoint: EndpointSpec
    calibration: Calibration
    patience: Patience = field(default_factory=Patience)
    num_processes: int = 1
    max_lateness_s: float = MAX_LATENESS_S

    def run(self, workload: WorkloadSpec, on_reading: OnReading) -> Outcome:
        """Play the workload; returns when every request has ended."""
        refuse_unsendable_images(workload, self.endpoint.api)
        loaders = Loaders(LivePlan(self.endpoint, workload, self.calibration, self.patience, self.num_processes))
        watch = ClusterWatch(self.endpoint, time.monotonic)
        try:
            result = loaders.run(watch.start, on_reading)
        finally:
            history = watch.stop()
            loaders.close()
        validity = judge(result.records, result.lags_s, self.max_lateness_s, loaders.is_interrupted)
        return Outcome(result.records, validity, history, loaders.is_interrupted)

    def describe(self) -> dict[str, Any]:
        """For reports; keys stay out of them."""
        return {
            "kind": "live",
            "url": self.endpoint.url,
            "model": self.endpoint.model,
            "api": self.endpoint.api,
            "tokens_per_word": round(self.calibration.tokens_per_word, 4),
            "num_calibration_requests": NUM_CALIBRATION_REQUESTS,  # the server's own counts have them too
            "num_processes": self.num_processes,
        }


def live_target(
    endpoint: EndpointSpec, patience: Patience, num_processes: int = 1, max_lateness_s: float = MAX_LATENESS_S
) -> LiveTarget:
    """Ask the endpoint what must be known beforehand. Raises when nothing answers, or not as OpenAI does."""

    async def ask() -> LiveTarget:
        client = endpoint.client(time.monotonic)
        try:
            model = await served_model(endpoint, client)
            calibration = await calibrate(endpoint, client, model)
        finally:
            client.close()
        return LiveTarget(replace(endpoint, model=model), calibration, patience, num_processes, max_lateness_s)

    return asyncio.run(ask())


@dataclass(frozen=True, slots=True)
class SimulatedTarget:
    """A cluster in virtual time. Its client is never late."""

    scenario: Scenario

    def run(self, workload: WorkloadSpec, on_reading: OnReading) -> Outcome:
        """Play the workload on a fresh cluster."""
        cluster, records, meter = Cluster(self.scenario), list[RequestRecord](), Meter()

        def on_record(record: RequestRecord) -> None:
            records.append(record)
            meter.sent(record.sent_s, 0.0)
            meter.tokens(record.num_output_tokens)
            meter.ended(record.ended_s, record.kind, record.ttft_s, record.timeline.tpot_s)
            if len(records) % _SIMULATED_READING_STEP == 0:
                on_reading(cluster.events.now_s, meter.read(cluster.events.now_s))

        play(cluster, workload, on_record)
        records.sort(key=lambda record: record.sent_s)
        end_s = max((record.ended_s for record in records), default=0.0)
        return Outcome(records, judge(records, ()), _history(cluster, end_s))

    def describe(self) -> dict[str, Any]:
        """For reports."""
        return {
            "kind": "simulated",
            "scenario": self.scenario.name,
            "pools": [f"{pool.count} {pool.role.value}" for pool in self.scenario.pools],
        }


def _history(cluster: Cluster, end_s: float) -> ClusterHistory:
    pools = {
        role: [PoolPoint(s.time_s, s.num_workers, s.num_waiting, s.num_running, s.kv_usage) for s in samples]
        for role, samples in cluster.history.samples.items()
        if role != "gateway"
    }
    events = []
    for failure in cluster.scenario.failures:
        events.append(ClusterEvent(failure.at_s, f"{failure.worker} is gone"))
        events.append(ClusterEvent(failure.at_s + failure.back_after_s, f"{failure.worker} came"))
    events += [
        ClusterEvent(flip.time_s, f"{flip.worker_id} flipped: {flip.from_role} to {flip.to_role}")
        for flip in cluster.roles.flips
    ]
    return ClusterHistory(pools, sorted((e for e in events if e.time_s <= end_s), key=lambda event: event.time_s))
