"""Which prefill worker has the least predicted TTFT, when a better prefix may be fetched from another: Mooncake's cost.

Algorithm 1 of Mooncake (FAST'25), in own words. For every prefill worker p, with `best` the longest prefix there is:

    fetches if   best / own(p) > balancing_threshold
    TTFT(p)    = T_transfer(best - own) + T_queue(p) + T_prefill(len, best)      if it fetches         [s]
               =                          T_queue(p) + T_prefill(len, own)       otherwise
    choose argmin TTFT; refuse when it exceeds the objective

A fetched prefix is cached at p afterwards, so hot prefixes spread by themselves. With `can_fetch` off it is the paper's
"local cache-aware" routing, with empty `prefixes` its load balancing by predicted TTFT.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nsmallest

from penstock.core.prefixes import Prefixes
from penstock.core.step_cost import StepCost
from penstock.core.types import WorkerState


@dataclass(frozen=True, slots=True)
class MooncakePolicy:
    """What fetching a prefix takes, and when. The paper tunes the threshold by hand and does not print it."""

    fetch_base_s: float = 0.002
    fetch_s_per_token: float = 1e-5
    balancing_threshold: float = 1.5
    can_fetch: bool = True
    num_candidates: int = 4


@dataclass(frozen=True, slots=True)
class PrefillChoice:
    """One ranked worker. `num_fetched_tokens` of its prefix come from the worker that has the longest."""

    worker: WorkerState
    ttft_s: float
    num_cached_tokens: int
    num_fetched_tokens: int = 0


def rank(
    num_tokens: int,
    workers: Sequence[WorkerState],
    prefixes: Prefixes,
    queued_s: Mapping[str, float],
    cost: StepCost,
    policy: MooncakePolicy,
) -> tuple[PrefillChoice, ...]:
    """The workers of least predicted TTFT, least first. `queued_s` is the predicted work ahead at each worker_id.

    One token at least is always run, to sample from.
    """
    held = {worker.ref.worker_id: prefixes.cached.get(worker.ref.worker_id, 0) for worker in workers}
    most_cached = num_tokens - 1
    best = min(prefixes.num_fetchable, most_cached)
    num_kept = best / policy.balancing_threshold if policy.can_fetch else 0.0  # a prefix this long is not replaced

    @cache
    def own_s(own: int) -> float:
        """Time from the end of the queue on a worker that holds `own` tokens of the prefix."""
        if own >= num_kept:
            return cost.prefill_s(num_tokens - own, own)
        fetch_s = policy.fetch_base_s + policy.fetch_s_per_token * (best - own)
        return fetch_s + cost.prefill_s(num_tokens - best, best)

    def ttft(worker: WorkerState) -> tuple[float, str]:
        name = worker.ref.worker_id
        return queued_s.get(name, 0.0) + own_s(min(held[name], most_cached)), name

    def choice(worker: WorkerState) -> PrefillChoice:
        ttft_s, name = ttft(worker)
        own = min(held[name], most_cached)
        if own >= num_kept:
            return PrefillChoice(worker, ttft_s, own)
        return PrefillChoice(worker, ttft_s, best, best - own)

    return tuple(choice(worker) for worker in nsmallest(policy.num_candidates, workers, key=ttft))


def is_served(ttft_s: float, ttft_slo_s: float, interval_s: float, tpot_slo_s: float) -> bool:
    """Mooncake's early rejection: whether both objectives are predicted to hold for the chosen pair; else 429."""
    return ttft_s <= ttft_slo_s and interval_s <= tpot_slo_s
