"""What a finished simulation has to say, as plain data: the same figures, by the same functions, as live reports."""

from dataclasses import asdict, dataclass
from typing import Any

from penstock.core.timeline import Summary
from penstock.core.types import Role
from penstock.simulator.cluster import Cluster
from penstock.simulator.metrics import PoolSample, RequestTotals
from penstock.simulator.role_control import FlipRecord
from penstock.simulator.transfers import TransferTotals
from penstock.simulator.worker import SimulatedWorker


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What the workers that began in one role did, past lives included."""

    num_workers: int
    num_gpus: int
    busy_share: float  # of the time between first arrival and last end
    num_steps: int
    num_prompt_tokens: int
    num_sampled_tokens: int
    cached_share: float  # of the prompt tokens that were looked up
    num_preemptions: int
    num_swaps: int  # sequences whose KV went to the host instead
    expert_bytes: float  # expert weights read, over all steps; 0 for dense models


@dataclass(frozen=True, slots=True)
class Report:
    """Of one run. `attainment` counts failed requests as missed; `goodput` is met requests per second."""

    name: str
    requests: RequestTotals
    duration_s: float  # first arrival to last end
    attainment: float
    goodput: float
    goodput_per_gpu: float
    latencies: dict[str, Summary | None]
    stages: dict[str, Summary | None]
    pools: dict[str, PoolReport]
    rejections: dict[str, int]  # by code
    num_resumes: int
    disaggregated_share: float  # of routes
    transfer: TransferTotals
    history: dict[str, list[PoolSample]]
    flips: list[FlipRecord]
    num_events: int

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def report(cluster: Cluster) -> Report:
    """Sum a finished cluster up."""
    metrics, scenario = cluster.metrics, cluster.scenario
    totals = metrics.totals
    duration_s = totals.last_end_s - totals.first_arrival_s
    goodput = totals.num_met / duration_s if duration_s else 0.0
    return Report(
        name=scenario.name,
        requests=totals,
        duration_s=duration_s,
        attainment=totals.num_met / totals.num_arrived if totals.num_arrived else 1.0,
        goodput=goodput,
        goodput_per_gpu=goodput / scenario.num_gpus,
        latencies={name: values.summary() for name, values in metrics.latencies.items()},
        stages={stage.value: values.summary() for stage, values in metrics.stages.items()},
        pools=_pools(cluster, duration_s),
        rejections=dict(sorted(cluster.desk.rejections.items())),
        num_resumes=cluster.desk.num_resumes,
        disaggregated_share=cluster.router.num_disaggregated / max(1, cluster.router.num_routes),
        transfer=cluster.network.totals,
        history=cluster.history.samples,
        flips=cluster.roles.flips,
        num_events=cluster.events.num_done,
    )


def _pools(cluster: Cluster, duration_s: float) -> dict[str, PoolReport]:
    by_role: dict[Role, list[SimulatedWorker]] = {}
    for worker in (*cluster.workers.values(), *cluster.past_lives):
        by_role.setdefault(worker.plan.role, []).append(worker)
    return {role.value: _pool(lives, duration_s) for role, lives in by_role.items()}


def _pool(lives: list[SimulatedWorker], duration_s: float) -> PoolReport:
    lives = list({id(worker): worker for worker in lives}.values())  # the last life of a dead worker is listed twice
    names = {worker.ref.worker_id: worker.plan.num_gpus for worker in lives}
    totals = [worker.engine.totals for worker in lives]
    busy_s = sum(worker.engine.totals.busy_s + worker.encodes.busy_s for worker in lives)
    num_looked_up = sum(total.num_looked_up_tokens for total in totals)
    return PoolReport(
        num_workers=len(names),
        num_gpus=sum(names.values()),
        busy_share=busy_s / (duration_s * len(names)) if duration_s else 0.0,
        num_steps=sum(total.num_steps for total in totals),
        num_prompt_tokens=sum(total.num_prompt_tokens for total in totals),
        num_sampled_tokens=sum(total.num_sampled_tokens for total in totals),
        cached_share=sum(total.num_cached_tokens for total in totals) / max(1, num_looked_up),
        num_preemptions=sum(total.num_preemptions for total in totals),
        num_swaps=sum(worker.engine.num_swaps for worker in lives),
        expert_bytes=sum(worker.engine.expert_bytes for worker in lives),
    )
