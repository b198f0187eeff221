"""Which worker first: every routing order there is, behind one name each. The live router and the simulated one offer
them all (`--routing`, `router.order`).

    predicted           predicted TTFT, predicted token interval                policies.routing (the default)
    round_robin         the next in turn                                        policies.routing_baselines
    random              no reason at all                                        "
    least_load          fewest sequences                                        "
    prefix_affinity     longest cached prefix while loads are balanced          "
    mooncake            least TTFT predicted from queue and own prefix          policies.routing_mooncake
    xllm                objectives first, then the lightest, as reported        policies.routing_xllm
    xllm_as_coded       objectives first, then the first that fits, as coded    "

The two of xLLM also wish for flips; whether a flip happens is for the caller to decide. They look at every worker
several times: 2 to 3 ms among 1,000, the others stay under 1 ms.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.core.policies import routing, routing_baselines, routing_mooncake, routing_xllm
from penstock.core.policies.routing import RoutingPolicy
from penstock.core.policies.routing_baselines import AffinityPolicy
from penstock.core.policies.routing_mooncake import MooncakePolicy
from penstock.core.pools import Flip, PooledWorker, pool_of
from penstock.core.prefixes import Prefixes
from penstock.core.reported_cost import queue_s, reported_cost
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Candidate, RouteQuery, RoutingDecision, WorkerRef, WorkerState

PREDICTED = "predicted"


@dataclass(frozen=True, slots=True)
class OrderPolicies:
    """What each order may be told. Without a `cost`, the orders that predict with one learn it from heartbeats."""

    routing: RoutingPolicy = field(default_factory=RoutingPolicy)
    affinity: AffinityPolicy = field(default_factory=AffinityPolicy)
    mooncake: MooncakePolicy = field(default_factory=lambda: MooncakePolicy(can_fetch=False))
    num_candidates: int = 4  # of each role, in the orders that are not told by a policy of their own
    slo: Slo = field(default_factory=lambda: Slo(ttft_s=1.0, tpot_s=0.05))  # xLLM's defaults
    cost: StepCost | None = None

    def fetches(self, order: str) -> bool:
        """Whether an order may have prefixes fetched from peers."""
        return (order == PREDICTED and self.routing.fetch_s_per_token > 0) or (
            order == "mooncake" and self.mooncake.can_fetch
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: the request, what is known of its prefix, and how many routes were asked for before it."""

    query: RouteQuery
    prefixes: Prefixes
    turn: int
    policies: OrderPolicies


@dataclass(frozen=True, slots=True)
class PrefixFetch:
    """The last `num_tokens` of a candidate's cached prefix are yet to be fetched from another worker's cache."""

    num_tokens: int
    source: WorkerRef


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer; the flip the order would like to see; fetches by the worker_id of the prefill candidate."""

    decision: RoutingDecision
    flip: Flip | None = None
    fetches: Mapping[str, PrefixFetch] = field(default_factory=dict)


_Pool = Sequence[WorkerState]
_RankPools = Callable[[Asked, _Pool, _Pool], Ranking]
_RankPool = Callable[[Asked, _Pool], tuple[Candidate, ...]]


def rank(order: str, asked: Asked, workers: Iterable[WorkerState], now_s: float) -> Ranking:
    """Rank prefill and decode candidates; no prefill candidate means there is no route."""
    query, policies = asked.query, asked.policies
    if order == PREDICTED:
        prefixes = asked.prefixes
        decision = routing.rank(query, workers, prefixes.cached, now_s, policies.routing, prefixes.num_fetchable)
        return _with_fetches(asked, decision) if prefixes.source else Ranking(decision)
    pools = routing.able_pools(query, workers, now_s - policies.routing.stale_s)
    if not any(prefill or decode for prefill, decode in pools):
        return Ranking(RoutingDecision(prefill=(), decode=(), disaggregate=False))
    # in the middle of a rollout: a revision that has both roles, and of those the one with the most workers
    prefill, decode = max(pools, key=lambda both: (bool(both[0]) and bool(both[1]), len(both[0]) + len(both[1])))
    return _ORDERS[order](asked, prefill, decode)


def _with_fetches(asked: Asked, decision: RoutingDecision) -> Ranking:
    """Name the source of the prefix for every candidate that had better fetch it, as `routing` has priced it."""
    held, source = asked.prefixes.cached, asked.prefixes.source
    assert source is not None, "somebody holds what is fetched"
    fetches: dict[str, PrefixFetch] = {}
    for candidate in decision.prefill:
        worker_id = candidate.ref.worker_id
        num_tokens = candidate.num_cached_tokens - held.get(worker_id, 0)
        if num_tokens > 0:
            fetches[worker_id] = PrefixFetch(num_tokens, source)
    return Ranking(decision, fetches=fetches)


def _each(rank_pool: _RankPool) -> _RankPools:
    """Rank both pools by one rule. Where one of the roles is missing, the workers of the other serve alone."""

    def rank_pools(asked: Asked, prefill: _Pool, decode: _Pool) -> Ranking:
        if prefill and decode:
            return Ranking(RoutingDecision(rank_pool(asked, prefill), rank_pool(asked, decode)))
        return Ranking(RoutingDecision(rank_pool(asked, prefill or decode), (), disaggregate=False))

    return rank_pools


def _mooncake(asked: Asked, prefill: _Pool, decode: _Pool) -> Ranking:
    """Prefill by least predicted TTFT, decode by least load."""
    policies, pool = asked.policies, prefill or decode
    cost = policies.cost or reported_cost(pool)
    queued_s = {worker.ref.worker_id: queue_s(worker, cost) for worker in pool}
    num_tokens = asked.query.num_tokens
    choices = routing_mooncake.rank(num_tokens, pool, asked.prefixes, queued_s, cost, policies.mooncake)
    candidates = tuple(Candidate(choice.worker.ref, choice.ttft_s, choice.num_cached_tokens) for choice in choices)
    fetches = {
        choice.worker.ref.worker_id: PrefixFetch(choice.num_fetched_tokens, asked.prefixes.source)
        for choice in choices
        if choice.num_fetched_tokens and asked.prefixes.source
    }
    if not (prefill and decode):
        return Ranking(RoutingDecision(candidates, (), disaggregate=False), fetches=fetches)
    decodes = routing_baselines.least_load(decode, policies.num_candidates)
    return Ranking(RoutingDecision(candidates, decodes), fetches=fetches)


def _xllm(choose: Callable[..., routing_xllm.PairChoice | None]) -> _RankPools:
    """xLLM's pair first; after it, for those who are refused there, the others by load."""

    def rank_pools(asked: Asked, prefill: _Pool, decode: _Pool) -> Ranking:
        fallback = _ORDERS["least_load"](asked, prefill, decode)
        policies = asked.policies
        cost = policies.cost or reported_cost([*prefill, *decode])
        members = {worker.ref.worker_id: worker for worker in (*prefill, *decode)}.values()
        pooled = [PooledWorker(worker, pool_of(worker), queue_s(worker, cost)) for worker in members]
        choice = choose(asked.query.num_tokens, pooled, cost, policies.slo)
        if choice is None:
            return fallback
        ttft_s = choice.prefill.queued_s + cost.prefill_s(asked.query.num_tokens)
        decision = RoutingDecision(
            _first(Candidate(choice.prefill.state.ref, ttft_s), fallback.decision.prefill),
            _first(Candidate(choice.decode.state.ref), fallback.decision.decode),
        )
        return Ranking(decision, choice.flip)

    return rank_pools


def _first(chosen: Candidate, others: Sequence[Candidate]) -> tuple[Candidate, ...]:
    return chosen, *(other for other in others if other.ref != chosen.ref)


_ORDERS: dict[str, _RankPools] = {
    "round_robin": _each(
        lambda asked, pool: routing_baselines.round_robin(pool, asked.turn, asked.policies.num_candidates)
    ),
    "random": _each(
        lambda asked, pool: routing_baselines.random(asked.query.request_id, pool, asked.policies.num_candidates)
    ),
    "least_load": _each(lambda asked, pool: routing_baselines.least_load(pool, asked.policies.num_candidates)),
    "prefix_affinity": _each(
        lambda asked, pool: routing_baselines.prefix_affinity(
            asked.query.num_tokens,
            pool,
            asked.prefixes.cached,
            asked.policies.affinity,
            asked.policies.num_candidates,
        )
    ),
    "mooncake": _mooncake,
    "xllm": _xllm(routing_xllm.as_reported),
    "xllm_as_coded": _xllm(routing_xllm.as_coded),
}

ORDERS = (PREDICTED, *_ORDERS)
