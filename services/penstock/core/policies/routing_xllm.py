"""Which workers prefill and decode, and which one should be flipped for it: xLLM's SLO-aware policy, in both versions.

`as_reported` follows the technical report (arXiv 2510.14686, section 3.2), `as_coded` what xllm-service runs. They
differ in the decode choice: the report takes the *lightest* worker that holds the bounds, the code the *first* that
does, which packs requests and leaves workers idle to be flipped.

    TTFT(p) = queued_s(p) + T_prefill(L)              predicted                                              [s]
    TPOT(d) = T_decode(num_sequences + 1, num_context_tokens + L)                                            [s]

Neither counts the time of the KV transfer, as in the original. `cache_score` is xLLM's cache-aware routing; there, both
ratios are integer divisions and a partial match scores nothing, which is not copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.pools import Flip, Pool, PooledWorker
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Role, WorkerState

MIN_DECODE_WORKERS = 2  # the report's; the code keeps one


@dataclass(frozen=True, slots=True)
class PairChoice:
    """Where a request goes. `flip` names a worker that should change its role; it changes nothing about this request.

    `is_feasible` is False when some objective is predicted to be missed.
    """

    prefill: PooledWorker
    decode: PooledWorker
    is_feasible: bool
    flip: Flip | None = None


def as_reported(num_tokens: int, workers: Sequence[PooledWorker], cost: StepCost, slo: Slo) -> PairChoice | None:
    """Prefill in the prefill pool, else among those on their way to it, else flip the lightest decode worker.

    None when there is no worker that prefills or none that decodes.
    """
    prefill_pool, arriving = _in(workers, Pool.PREFILL), _in(workers, Pool.DECODE_TO_PREFILL)
    decode_pool = _in(workers, Pool.DECODE) + _in(workers, Pool.PREFILL_TO_DECODE)
    if not (prefill_pool or arriving) or not decode_pool:
        return None
    prefill_s = cost.prefill_s(num_tokens)

    def ttft_s(worker: PooledWorker) -> float:
        return worker.queued_s + prefill_s

    best = [min(pool, key=_queue) for pool in (prefill_pool, arriving) if pool]
    in_time = [worker for worker in best if ttft_s(worker) <= slo.ttft_s]
    prefill = in_time[0] if in_time else min(best, key=_queue)
    bound = [worker for worker in decode_pool if _holds(worker, num_tokens, cost, slo.tpot_s)]
    if prefill.pool is Pool.DECODE_TO_PREFILL and _holds(prefill, num_tokens, cost, slo.tpot_s):
        bound = [prefill]  # it still decodes, and no KV has to move
    decode = min(bound or decode_pool, key=_tokens)
    flip = None if in_time else _to_prefill(workers, MIN_DECODE_WORKERS)
    return PairChoice(prefill, decode, bool(in_time) and bool(bound), flip)


def as_coded(num_tokens: int, workers: Sequence[PooledWorker], cost: StepCost, slo: Slo) -> PairChoice | None:
    """`select_instance_pair_on_slo`: shortest prefill queue, first decode worker in the order given that holds TPOT.

    When the shortest queue is too long, the prefill moves to the lightest decode worker if that is far from its bound;
    when no decode worker holds TPOT, the chosen prefill worker is to be flipped, unless it is the last.
    """
    prefills = _in(workers, Pool.PREFILL) + _in(workers, Pool.DECODE_TO_PREFILL)
    decodes = _in(workers, Pool.DECODE) + _in(workers, Pool.PREFILL_TO_DECODE)
    if not prefills or not decodes:
        return None
    num_prefills, num_decodes = len(prefills), len(decodes)
    shortest = min(prefills, key=_queue)
    target = next((worker for worker in decodes if _tpot_s(worker, num_tokens, cost) <= slo.tpot_s), None)
    lightest = min(decodes, key=lambda worker: (_tpot_s(worker, num_tokens, cost), worker.worker_id))
    is_far_from_bound = _tpot_s(lightest, num_tokens, cost) < slo.tpot_s * (num_decodes - 1) / num_decodes
    moves = (
        shortest.queued_s > slo.ttft_s
        and target is not lightest
        and is_far_from_bound
        and lightest.queued_s < shortest.queued_s
    )
    prefill = lightest if moves else shortest
    mean_queued_s = sum(worker.queued_s for worker in prefills) / num_prefills
    has_spare = mean_queued_s < slo.ttft_s * (num_prefills - 1) / num_prefills or num_decodes < num_prefills
    flip = None
    if target is None and has_spare and num_prefills > 1 and prefill in prefills:
        flip = Flip(Role.PREFILL, Role.DECODE, prefill.worker_id)
    is_feasible = target is not None and prefill.queued_s + cost.prefill_s(num_tokens) <= slo.ttft_s
    return PairChoice(prefill, target or lightest, is_feasible, flip)


def flip_when_idle(worker: PooledWorker, num_decode_workers: int) -> Flip | None:
    """xllm-service on a finished decode: a decode worker without any request becomes a prefill one, except the last."""
    if worker.pool is not Pool.DECODE or worker.num_sequences or num_decode_workers <= 1:
        return None
    return Flip(Role.DECODE, Role.PREFILL, worker.worker_id)


def cache_score(num_cached_tokens: int, num_tokens: int, worker: WorkerState, most_waiting: int) -> float:
    """matched share - memory in use - waiting / most waiting anywhere; the largest wins. Each term lies in [0, 1]."""
    usage = 1.0 - worker.num_free_blocks / worker.num_blocks if worker.num_blocks else 1.0
    return num_cached_tokens / max(1, num_tokens) - usage - worker.num_waiting / max(1, most_waiting)


def _in(workers: Sequence[PooledWorker], pool: Pool) -> list[PooledWorker]:
    return [worker for worker in workers if worker.pool is pool]


def _queue(worker: PooledWorker) -> tuple[float, str]:
    return worker.queued_s, worker.worker_id


def _tokens(worker: PooledWorker) -> tuple[int, str]:
    return worker.state.num_context_tokens, worker.worker_id


def _tpot_s(worker: PooledWorker, num_tokens: int, cost: StepCost) -> float:
    return cost.decode_s(worker.num_sequences + 1, worker.state.num_context_tokens + num_tokens)


def _holds(worker: PooledWorker, num_tokens: int, cost: StepCost, tpot_s: float) -> bool:
    return num_tokens <= worker.num_free_tokens and _tpot_s(worker, num_tokens, cost) <= tpot_s


def _to_prefill(workers: Sequence[PooledWorker], min_decode: int) -> Flip | None:
    """The decode worker with the fewest tokens, rather one that still prefills; enough must remain."""
    leaving, settled = _in(workers, Pool.PREFILL_TO_DECODE), _in(workers, Pool.DECODE)
    if len(leaving) + len(settled) <= min_decode:
        return None
    chosen = min(leaving or settled, key=_tokens)
    return Flip(Role.DECODE, Role.PREFILL, chosen.worker_id)
