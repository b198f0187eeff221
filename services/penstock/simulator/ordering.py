"""Routing baselines that the live policy is compared with, each ranking both pools by one rule."""

from collections.abc import Callable, Mapping, Sequence

from penstock.core.policies.routing_baselines import AffinityPolicy, least_load, prefix_affinity, round_robin
from penstock.core.types import Candidate, RouteQuery, RoutingDecision, WorkerState

_Order = Callable[[RouteQuery, Sequence[WorkerState], Mapping[str, int], int], tuple[Candidate, ...]]

BASELINES: dict[str, _Order] = {
    "round_robin": lambda query, workers, cached, turn: round_robin(workers, turn),
    "least_load": lambda query, workers, cached, turn: least_load(workers),
    "prefix_affinity": lambda query, workers, cached, turn: prefix_affinity(
        query.num_tokens, workers, cached, AffinityPolicy()
    ),
}


def decide(
    order: str, query: RouteQuery, workers: Sequence[WorkerState], num_cached_tokens: Mapping[str, int], turn: int
) -> RoutingDecision:
    """Rank both pools by a baseline: every worker that could hold the request when empty. `turn` counts routes."""
    able = [
        worker
        for worker in workers
        if worker.num_blocks * worker.block_size > query.num_tokens
        and worker.ref.worker_id not in query.excluded_worker_ids
    ]
    ranking = BASELINES[order]
    prefill = ranking(query, [worker for worker in able if worker.takes_prefill], num_cached_tokens, turn)
    decode = ranking(query, [worker for worker in able if worker.takes_decode], num_cached_tokens, turn)
    if prefill and decode:
        return RoutingDecision(prefill, decode)
    return RoutingDecision(prefill or decode, (), disaggregate=False)
