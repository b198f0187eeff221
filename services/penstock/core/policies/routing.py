"""Which workers a request should go to: prefill by predicted TTFT, decode by predicted token interval.

Takes part in "route". Pure: the same ranking runs in the router and in the simulator.

    prefill   predicted TTFT = base + (queued tokens + uncached tokens of this request) * seconds per token
    decode    predicted interval = interval of an empty batch * (1 + occupancy once this request is in)

Costs are the workers' own measurements; a worker without any is priced like its best peer, so it is soon tried and
then measured. Workers that can never hold the request are left out; those that cannot hold it now come last, for they
refuse at once and may have room by the time they are asked.

Herding (one worker drowns while its equals idle) has three guards: the caller adds work in flight to the states
(`policies.in_flight`); differences smaller than measurements are worth count as ties, which rendezvous hashing of the
request breaks; and one request in `explore_every` prices all prefill workers alike, so that one measured slow by bad
luck is measured again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from zlib import crc32

from penstock.core.types import Candidate, Role, RouteQuery, RoutingDecision, WorkerState

_PREFILL_ROLES = (Role.PREFILL, Role.MIXED)
_DECODE_ROLES = (Role.DECODE, Role.MIXED)


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """What the ranking may be told; the defaults suit any group."""

    num_candidates: int = 4
    headroom_tokens: int = 256  # output a decode worker should have blocks for from the start, at most max_tokens
    stale_s: float = 2.0  # older heartbeats are believed only where there is no fresher one
    tie_fraction: float = 0.1  # of the request's own prefill cost: smaller differences are noise
    interval_tolerance: float = 0.25  # decode workers this much slower than the fastest count as equally fast
    hit_weight: float = 0.1  # occupancy that a wholly cached prompt makes up for on a decode worker
    explore_every: int = 32
    fetch_s_per_token: float = 0.0  # of a prefix that another worker holds; 0: prefixes are not fetched
    fetch_base_s: float = 0.002
    prefill_base_s: float = 0.005  # these three are assumed while no worker has measured anything
    prefill_s_per_token: float = 1e-4
    token_interval_s: float = 0.02


@dataclass(frozen=True, slots=True)
class _Scores:
    """One score per worker, smaller is better; scores up to `limit` are equally good. `num_cached_tokens` includes what
    is to be fetched.
    """

    scores: list[float]
    predicted_s: list[float]
    limit: float
    num_cached_tokens: Mapping[str, int]


_Score = Callable[[list[WorkerState]], _Scores]


def rank(
    query: RouteQuery,
    workers: Iterable[WorkerState],
    num_cached_tokens: Mapping[str, int],
    now_s: float,
    policy: RoutingPolicy,
    num_fetchable: int = 0,
) -> RoutingDecision:
    """Rank the prefill and the decode candidates of one revision; no prefill candidate means there is no route.

    `num_cached_tokens` maps a worker_id to how many leading tokens of the request its prefix cache holds. Where one
    of the two roles is missing, the workers of the other serve alone: `decode` is empty, `disaggregate` False. Whoever
    holds less than `num_fetchable` leading tokens may fetch them from a peer, and where that is cheaper is priced, and
    named, as if it held them.
    """
    pools = able_pools(query, workers, now_s - policy.stale_s)
    decisions = [_rank_pools(query, *pair, num_cached_tokens, policy, num_fetchable) for pair in pools]
    # In the middle of a rollout a revision may still lack one of the roles: a whole one is better.
    return min(
        decisions,
        key=lambda decision: (not decision.disaggregate, decision.prefill[0].predicted_s),
        default=RoutingDecision(prefill=(), decode=(), disaggregate=False),
    )


def able_pools(
    query: RouteQuery, workers: Iterable[WorkerState], fresh_since_s: float
) -> list[tuple[list[WorkerState], list[WorkerState]]]:
    """The prefill and the decode workers a request may go to, one pair of lists for each revision that has any."""
    able = _able(query, workers, fresh_since_s)
    prefill = [worker for worker in able if worker.role in _PREFILL_ROLES]
    decode = [worker for worker in able if worker.role in _DECODE_ROLES]
    return _by_revision(prefill, decode)


def _able(query: RouteQuery, workers: Iterable[WorkerState], fresh_since_s: float) -> list[WorkerState]:
    """Workers that take new work and could hold the request when empty; stale ones only when all are."""
    excluded = query.excluded_worker_ids
    able = [
        worker
        for worker in workers
        if not worker.is_draining
        and worker.num_blocks * worker.block_size > query.num_tokens
        and worker.ref.worker_id not in excluded
    ]
    return [worker for worker in able if worker.heartbeat_s >= fresh_since_s] or able


def _by_revision(
    prefill: list[WorkerState], decode: list[WorkerState]
) -> list[tuple[list[WorkerState], list[WorkerState]]]:
    """The two pools, split so that only equal revisions meet. At least one of each two is not empty."""
    revisions = {worker.revision for worker in prefill} | {worker.revision for worker in decode}
    if len(revisions) == 1:
        return [(prefill, decode)]
    return [
        ([w for w in prefill if w.revision == revision], [w for w in decode if w.revision == revision])
        for revision in sorted(revisions)
    ]


def _rank_pools(
    query: RouteQuery,
    prefill: list[WorkerState],
    decode: list[WorkerState],
    num_cached_tokens: Mapping[str, int],
    policy: RoutingPolicy,
    num_fetchable: int,
) -> RoutingDecision:
    num_tokens_held = query.num_tokens + min(query.max_tokens, policy.headroom_tokens)

    def score_prefill(workers: list[WorkerState]) -> _Scores:
        return _score_prefill(query, workers, num_cached_tokens, policy, num_fetchable)

    def score_decode(workers: list[WorkerState]) -> _Scores:
        return _score_decode(query, workers, num_cached_tokens, num_tokens_held, policy)

    def best(workers: list[WorkerState], num_tokens: int, score: _Score) -> tuple[Candidate, ...]:
        chosen: list[Candidate] = []
        for pool in _roomy_first(workers, num_tokens):
            if pool and len(chosen) < policy.num_candidates:
                chosen += _best(query, pool, score(pool), policy.num_candidates - len(chosen))
        return tuple(chosen)

    if not (prefill and decode):
        alone = best(prefill or decode, num_tokens_held, score_prefill)
        return RoutingDecision(prefill=alone, decode=(), disaggregate=False)
    return RoutingDecision(
        prefill=best(prefill, query.num_tokens, score_prefill),
        decode=best(decode, num_tokens_held, score_decode),
    )


def _roomy_first(workers: list[WorkerState], num_tokens: int) -> tuple[list[WorkerState], list[WorkerState]]:
    """Workers with blocks and a place for the request now, and the others."""
    roomy = [
        worker
        for worker in workers
        if worker.num_free_blocks * worker.block_size >= num_tokens
        and worker.num_running + worker.num_waiting < worker.max_num_sequences
    ]
    if len(roomy) == len(workers):
        return roomy, []
    names = {worker.ref.worker_id for worker in roomy}
    return roomy, [worker for worker in workers if worker.ref.worker_id not in names]


def _score_prefill(
    query: RouteQuery,
    workers: list[WorkerState],
    num_cached_tokens: Mapping[str, int],
    policy: RoutingPolicy,
    num_fetchable: int,
) -> _Scores:
    best_rate = min((w.prefill_s_per_token for w in workers if w.prefill_s_per_token > 0), default=0.0)
    best_base = min((w.prefill_base_s for w in workers if w.prefill_s_per_token > 0), default=policy.prefill_base_s)
    best_rate = best_rate or policy.prefill_s_per_token
    is_exploring = crc32(query.request_id.encode()) % policy.explore_every == 0
    scores: list[float] = []
    own_costs: list[float] = []
    num_tokens = query.num_tokens
    most_cached = num_tokens - 1  # the last token is always run, to sample from
    num_fetchable = min(num_fetchable, most_cached)
    fetched: dict[str, int] = {}
    for worker in workers:
        rate, base = worker.prefill_s_per_token, worker.prefill_base_s
        if is_exploring or rate <= 0:
            rate, base = best_rate, best_base
        num_cached = num_cached_tokens.get(worker.ref.worker_id, 0) if num_cached_tokens else 0
        own = base + (num_tokens - (num_cached if num_cached < most_cached else most_cached)) * rate
        if num_cached < num_fetchable:
            fetch_s = policy.fetch_base_s + (num_fetchable - num_cached) * policy.fetch_s_per_token
            if (fetching := fetch_s + base + (num_tokens - num_fetchable) * rate) < own:
                own = fetching
                fetched[worker.ref.worker_id] = num_fetchable
        own_costs.append(own)
        scores.append(own + worker.num_prefill_tokens * rate)
    best = min(scores)
    limit = best + policy.tie_fraction * own_costs[scores.index(best)]
    return _Scores(scores, scores, limit, {**num_cached_tokens, **fetched} if fetched else num_cached_tokens)


def _score_decode(
    query: RouteQuery,
    workers: list[WorkerState],
    num_cached_tokens: Mapping[str, int],
    num_tokens_held: int,
    policy: RoutingPolicy,
) -> _Scores:
    # What an idle worker measured last says nothing of now. In-flight work never changes num_running, so dividing by
    # it undoes the load the interval was measured under, and no more.
    empty_s = [
        worker.token_interval_s / (1 + worker.num_running / worker.max_num_sequences) if worker.num_running else 0.0
        for worker in workers
    ]
    best_s = min((interval_s for interval_s in empty_s if interval_s > 0), default=policy.token_interval_s)
    floor_s = best_s * (1 + policy.interval_tolerance)
    scores: list[float] = []
    predicted_s: list[float] = []
    hit_weight = policy.hit_weight / query.num_tokens
    for worker, measured_s in zip(workers, empty_s, strict=True):
        places = (worker.num_running + worker.num_waiting + 1) / worker.max_num_sequences
        blocks = 1 - (worker.num_free_blocks - num_tokens_held / worker.block_size) / worker.num_blocks
        occupancy = places if places > blocks else blocks  # max() would double the cost of this loop
        predicted_s.append((measured_s or best_s) * (1 + occupancy))
        if num_cached_tokens:
            occupancy -= hit_weight * num_cached_tokens.get(worker.ref.worker_id, 0)
        scores.append((measured_s if measured_s > floor_s else floor_s) * (1 + occupancy))
    return _Scores(scores, predicted_s, min(scores), num_cached_tokens)


def _best(query: RouteQuery, workers: Sequence[WorkerState], scored: _Scores, num_wanted: int) -> list[Candidate]:
    """The `num_wanted` best workers; equally good ones in an order that differs from request to request."""
    scores, limit = scored.scores, scored.limit
    salt = crc32(query.request_id.encode())
    equal = [index for index, score in enumerate(scores) if score <= limit]
    chosen = nsmallest(num_wanted, equal, key=lambda index: _affinity(salt, workers[index].ref.worker_id))
    if len(chosen) < num_wanted:
        others = [index for index, score in enumerate(scores) if score > limit]
        chosen += nsmallest(num_wanted - len(chosen), others, key=scores.__getitem__)
    return [
        Candidate(
            ref=workers[index].ref,
            predicted_s=scored.predicted_s[index],
            num_cached_tokens=scored.num_cached_tokens.get(workers[index].ref.worker_id, 0),
        )
        for index in chosen
    ]


def _affinity(salt: int, worker_id: str) -> int:
    """Rendezvous hash of a request and a worker: each worker is first for an equal share of the requests."""
    # crc32 alone is linear, which would give unequal shares; the multiplication of splitmix64 is not.
    return ((salt ^ crc32(worker_id.encode())) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
