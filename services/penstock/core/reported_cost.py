"""What steps cost, as workers themselves report it in heartbeats: a cost model for whoever has no profile."""

from collections.abc import Iterable

from penstock.core.policies.routing import RoutingPolicy
from penstock.core.step_cost import StepCost
from penstock.core.types import WorkerState

_ASSUMED = RoutingPolicy()  # while no worker has measured anything


def reported_cost(workers: Iterable[WorkerState]) -> StepCost:
    """The best worker's. Prefill is linear, as workers measure it; of decode only the interval of the present batch is
    known, and a full batch is taken to be twice as slow as an empty one."""
    rate, base, interval_s, per_sequence_s = 0.0, 0.0, 0.0, 0.0
    for worker in workers:
        if worker.prefill_s_per_token > 0 and not 0 < rate <= worker.prefill_s_per_token:
            rate, base = worker.prefill_s_per_token, worker.prefill_base_s
        if worker.num_running and worker.token_interval_s > 0:
            empty_s = worker.token_interval_s / (1 + worker.num_running / worker.max_num_sequences)
            if not 0 < interval_s <= empty_s:
                interval_s, per_sequence_s = empty_s, empty_s / worker.max_num_sequences
    if rate <= 0:
        rate, base = _ASSUMED.prefill_s_per_token, _ASSUMED.prefill_base_s
    if interval_s <= 0:
        interval_s, per_sequence_s = _ASSUMED.token_interval_s, _ASSUMED.token_interval_s / 256
    return StepCost(base, rate, 0.0, interval_s, 0.0, per_sequence_s)


def queue_s(worker: WorkerState, cost: StepCost) -> float:
    """Predicted work ahead of a new prompt: queued tokens at the worker's own measured pace, or at `cost`'s."""
    return worker.num_prefill_tokens * (worker.prefill_s_per_token or cost.prefill_s_per_token)
