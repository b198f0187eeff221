"""Which language worker should change its role, by how its pool keeps its objective: xLLM's rules.

xLLM (technical report, arXiv 2510.14686, section 3.2), on the four pools of `core.pools`. TTFT can be predicted and is;
TPOT cannot well, so the measured token interval is used:

    prefill is short   least predicted TTFT > objective                          -> lightest decode worker flips
    decode is short    mean token interval > objective, or free KV < low share   -> least queued prefill worker flips
    both or neither    nobody flips; both: tighten admission or scale out

First choice in either direction are workers still on their way out of the role that is wanted back. The original has
one threshold per signal and so swings; here a pool gives a worker away only while it is at ease itself, that is below
`ease` of its objective. Cool-down and minimum counts are `policies.flip_guard`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.pools import Flip, Pool, PooledWorker
from penstock.core.timeline import Slo
from penstock.core.types import Role


@dataclass(frozen=True, slots=True)
class FlipThresholds:
    """Shares of the objectives. `ease` below `strain` is the hysteresis."""

    strain: float = 1.0
    ease: float = 0.7
    min_free_share: float = 0.05  # of KV blocks; below it decode is short of memory
    ease_free_share: float = 0.2


@dataclass(frozen=True, slots=True)
class PoolPressure:
    """How each pool stands against its objective: 1 is just kept. `free_share` is of decode KV blocks."""

    ttft: float
    interval: float
    free_share: float


_PREFILLS = (Pool.PREFILL, Pool.DECODE_TO_PREFILL)
_DECODES = (Pool.DECODE, Pool.PREFILL_TO_DECODE)


def pressure(workers: Sequence[PooledWorker], prefill_s: float, slo: Slo) -> PoolPressure:
    """Least predicted TTFT of a typical prompt (`prefill_s` long), and mean interval and memory of decode workers."""
    prefills = [worker for worker in workers if worker.pool in _PREFILLS]
    decodes = [worker for worker in workers if worker.pool in _DECODES]
    least_s = min((worker.queued_s for worker in prefills), default=float("inf"))
    busy = [worker.state.token_interval_s for worker in decodes if worker.state.num_running]
    mean_s = sum(busy) / len(busy) if busy else 0.0
    num_blocks = sum(worker.state.num_blocks for worker in decodes)
    num_free = sum(worker.state.num_free_blocks for worker in decodes)
    return PoolPressure(
        ttft=(least_s + prefill_s) / slo.ttft_s,
        interval=mean_s / slo.tpot_s if decodes else float("inf"),
        free_share=num_free / num_blocks if num_blocks else 0.0,
    )


def propose(workers: Sequence[PooledWorker], now: PoolPressure, thresholds: FlipThresholds) -> Flip | None:
    """The flip that would help the pool that is short, if the other can give a worker away."""
    is_prefill_short = now.ttft > thresholds.strain
    is_decode_short = now.interval > thresholds.strain or now.free_share < thresholds.min_free_share
    if is_prefill_short and not is_decode_short and _decode_is_at_ease(now, thresholds):
        chosen = _first(workers, (Pool.PREFILL_TO_DECODE, Pool.DECODE), by_queue=False)
        return Flip(Role.DECODE, Role.PREFILL, chosen.worker_id) if chosen else None
    if is_decode_short and not is_prefill_short and now.ttft <= thresholds.ease:
        chosen = _first(workers, (Pool.DECODE_TO_PREFILL, Pool.PREFILL), by_queue=True)
        return Flip(Role.PREFILL, Role.DECODE, chosen.worker_id) if chosen else None
    return None


def _decode_is_at_ease(now: PoolPressure, thresholds: FlipThresholds) -> bool:
    return now.interval <= thresholds.ease and now.free_share >= thresholds.ease_free_share


def _first(workers: Sequence[PooledWorker], pools: tuple[Pool, ...], *, by_queue: bool) -> PooledWorker | None:
    """The lightest worker of the first of `pools` that has one."""

    def weight(worker: PooledWorker) -> tuple[float, str]:
        return worker.queued_s if by_queue else float(worker.state.num_context_tokens), worker.worker_id

    for pool in pools:
        members = [worker for worker in workers if worker.pool is pool]
        if members:
            return min(members, key=weight)
    return None
