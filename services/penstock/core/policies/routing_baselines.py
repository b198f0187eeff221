"""Rankings of one pool that others are compared with: each answers "which worker first" by one simple rule.

    round_robin       the next in turn                                                 every system's default
    random            in an order hashed from request and worker                       Mooncake's baseline
    least_load        fewest sequences, then fewest tokens                             xLLM's "minimal load"
    prefix_affinity   longest cached prefix, unless loads are out of balance           SGLang's cache-aware router
    rejection_order   longest cached prefix, then least recently refused               P/D-Serve (arXiv 2408.08147)

They rank; what may be ranked at all (role, revision, draining, excluded) the caller filters, and what refuses is passed
over by `policies.forwarding`. All break ties by worker_id, so the same snapshot gives the same ranking, of which the
best `num_candidates` are returned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from zlib import crc32

from penstock.core.types import Candidate, WorkerState


@dataclass(frozen=True, slots=True)
class AffinityPolicy:
    """Loads (sequences) are out of balance when max - min > `imbalance` and max > `imbalance_ratio` * min.

    A match shorter than `min_match` of the prompt is not worth following. The numbers are the documented defaults of
    SGLang's gateway; its tree of text is replaced by block hashes.
    """

    imbalance: int = 64
    imbalance_ratio: float = 1.5
    min_match: float = 0.3


def round_robin(workers: Sequence[WorkerState], turn: int, num_candidates: int = 4) -> tuple[Candidate, ...]:
    """The `turn`-th worker first (modulo their number), the others after it in a circle."""
    if not workers:
        return ()
    ordered = sorted(workers, key=_name)
    first = turn % len(ordered)
    return tuple(Candidate(worker.ref) for worker in (ordered[first:] + ordered[:first])[:num_candidates])


def random(request_id: str, workers: Sequence[WorkerState], num_candidates: int = 4) -> tuple[Candidate, ...]:
    """In an order that differs from request to request and has no reason; the same request gets the same one."""
    salt = request_id.encode()

    def key(worker: WorkerState) -> int:
        # crc32 alone is linear, which would give unequal shares; the multiplication of splitmix64 is not
        return (crc32(salt + _name(worker).encode()) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF

    return tuple(Candidate(worker.ref) for worker in nsmallest(num_candidates, workers, key=key))


def least_load(workers: Sequence[WorkerState], num_candidates: int = 4) -> tuple[Candidate, ...]:
    """Fewest sequences first, among equals fewest tokens to compute and to attend to."""
    return tuple(Candidate(worker.ref) for worker in nsmallest(num_candidates, workers, key=_load))


def prefix_affinity(
    num_tokens: int,
    workers: Sequence[WorkerState],
    num_cached_tokens: Mapping[str, int],
    policy: AffinityPolicy,
    num_candidates: int = 4,
) -> tuple[Candidate, ...]:
    """Longest prefix first while loads are balanced and some prefix is long enough; otherwise by load."""
    loads = [_num_sequences(worker) for worker in workers]
    least, most = min(loads, default=0), max(loads, default=0)
    is_balanced = most - least <= policy.imbalance or most <= policy.imbalance_ratio * least
    longest = max((num_cached_tokens.get(_name(worker), 0) for worker in workers), default=0)
    if not is_balanced or longest < policy.min_match * num_tokens:
        return tuple(_with_hit(worker, num_cached_tokens) for worker in nsmallest(num_candidates, workers, key=_load))

    def key(worker: WorkerState) -> tuple[int, tuple[int, int, str]]:
        return -num_cached_tokens.get(_name(worker), 0), _load(worker)

    return tuple(_with_hit(worker, num_cached_tokens) for worker in nsmallest(num_candidates, workers, key=key))


def rejection_order(
    workers: Sequence[WorkerState],
    num_cached_tokens: Mapping[str, int],
    refused_s: Mapping[str, float],
    num_candidates: int = 4,
) -> tuple[Candidate, ...]:
    """Whom to offer a request: no load is asked for, since an idle worker accepts and a busy one refuses at once.

    `refused_s` maps a worker_id to when it last refused anybody; who never did comes first.
    """

    def key(worker: WorkerState) -> tuple[int, float, str]:
        name = _name(worker)
        return -num_cached_tokens.get(name, 0), refused_s.get(name, float("-inf")), name

    return tuple(_with_hit(worker, num_cached_tokens) for worker in nsmallest(num_candidates, workers, key=key))


def _with_hit(worker: WorkerState, num_cached_tokens: Mapping[str, int]) -> Candidate:
    return Candidate(worker.ref, num_cached_tokens=num_cached_tokens.get(_name(worker), 0))


def _name(worker: WorkerState) -> str:
    return worker.ref.worker_id


def _num_sequences(worker: WorkerState) -> int:
    return worker.num_running + worker.num_waiting


def _load(worker: WorkerState) -> tuple[int, int, str]:
    return _num_sequences(worker), worker.num_prefill_tokens + worker.num_context_tokens, _name(worker)
