"""How each role stands against its objective, from heartbeats and from what waits outside them: 1 is just kept.

prefill   (least queue + share of what waits at gateways + a typical prompt) / TTFT objective
encoder   (least queue) / TTFT objective
decode    the largest of: mean token interval / TPOT objective, places and blocks in use / share to be used

Requests wait at gateways because no prefill worker takes them: since it has prompts to compute, or since decode workers
are full and what it has computed cannot leave. In the second case they are decode's pressure, not prefill's.

Roles are in the order in which requests pass them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.core.demand import Demand
from penstock.core.pools import PooledWorker, pool_of
from penstock.core.reported_cost import queue_s
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Role, WorkerState

_FULL = 0.5  # room in use from which on it is decode workers that keep requests waiting
_MAX_SHARE = 0.95  # of blocks (xLLM: below 5 % of free ones decode is short of memory) and of places
ROLES = (Role.ENCODER, Role.PREFILL, Role.DECODE)  # that workers are moved between; mixed ones have nothing to give


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What role control looks at. `workers` are as they last described themselves: a request that waits is routed again
    and again, and would count each time if work in flight were added."""

    workers: Sequence[WorkerState]
    demand: Demand
    cost: StepCost  # known or learnt (`reported_cost`)

    def of(self, role: Role) -> list[WorkerState]:
        """Those that serve a role and take new work."""
        return [worker for worker in self.workers if worker.role is role and not worker.is_draining]

    @property
    def num_workers(self) -> dict[Role, int]:
        """By role; roles nobody has are left out."""
        counts = {role: len(self.of(role)) for role in ROLES}
        return {role: count for role, count in counts.items() if count}

    @property
    def prefill_s(self) -> float:
        """A typical prompt, alone."""
        return self.cost.prefill_s(round(self.demand.num_prompt_tokens))

    @property
    def waits_for_decode(self) -> bool:
        """Whether it is for want of decode workers that requests wait at gateways."""
        prefills, decodes = self.of(Role.PREFILL), self.of(Role.DECODE)
        if not decodes or room_in_use(decodes) < _FULL:
            return False
        num_pending_tokens = sum(worker.num_prefill_tokens for worker in prefills)
        return num_pending_tokens < 0.5 * self.demand.num_prompt_tokens * len(prefills)

    def pooled(self) -> list[PooledWorker]:
        """The language workers in xLLM's pools, each prefill worker with its share of what waits at gateways."""
        prefills, decodes = self.of(Role.PREFILL), self.of(Role.DECODE)
        num_waiting = 0 if self.waits_for_decode else self.demand.num_waiting
        waiting_s = num_waiting * self.prefill_s / max(1, len(prefills))
        return [
            *(PooledWorker(worker, pool_of(worker), waiting_s + queue_s(worker, self.cost)) for worker in prefills),
            *(PooledWorker(worker, pool_of(worker), queue_s(worker, self.cost)) for worker in decodes),
        ]


def pressures(view: ClusterView, slo: Slo) -> Mapping[Role, float]:
    """Of every role that has workers."""
    measures = {Role.ENCODER: _of_encoders, Role.PREFILL: _of_prefills, Role.DECODE: _of_decodes}
    return {role: measures[role](view, slo) for role in view.num_workers}


def queue_lengths(view: ClusterView) -> Mapping[Role, float]:
    """Requests, at encoders shards of requests, that wait for each role: EPD's queues.

    Who waits at prefill workers or at gateways waits for decode when that is full, else for prefill. No queue is seen
    in front of a decode worker that has room: reservations are granted or refused at once.
    """
    queues: dict[Role, float] = {role: sum(worker.num_waiting for worker in view.of(role)) for role in view.num_workers}
    decodes = view.of(Role.DECODE)
    num_places = sum(worker.max_num_sequences for worker in decodes)
    is_full = bool(decodes) and _num_sequences(decodes) >= _MAX_SHARE * num_places
    if is_full:
        queues[Role.DECODE] += 1 + view.demand.num_waiting + queues.get(Role.PREFILL, 0.0)
        queues[Role.PREFILL] = 0.0
    elif Role.PREFILL in queues:
        queues[Role.PREFILL] += view.demand.num_waiting
    return queues


def _num_sequences(workers: Sequence[WorkerState]) -> int:
    return sum(worker.num_waiting + worker.num_running for worker in workers)


def _of_encoders(view: ClusterView, slo: Slo) -> float:
    return min(queue_s(worker, view.cost) for worker in view.of(Role.ENCODER)) / slo.ttft_s


def _of_prefills(view: ClusterView, slo: Slo) -> float:
    least_s = min(worker.queued_s for worker in view.pooled() if worker.state.role is Role.PREFILL)
    return (least_s + view.prefill_s) / slo.ttft_s


def _of_decodes(view: ClusterView, slo: Slo) -> float:
    decodes = view.of(Role.DECODE)
    busy_s = [worker.token_interval_s for worker in decodes if worker.num_decoding]
    interval = (sum(busy_s) / len(busy_s) if busy_s else 0.0) / slo.tpot_s
    num_waiting = view.demand.num_waiting if view.waits_for_decode else 0
    return max(interval, room_in_use(decodes) + num_waiting / sum(worker.max_num_sequences for worker in decodes))


def room_in_use(decodes: Sequence[WorkerState]) -> float:
    """Places or blocks in use, whichever is scarcer; 1 is all that should be."""
    places = _num_sequences(decodes) / sum(worker.max_num_sequences for worker in decodes)
    num_used = sum(worker.num_blocks - worker.num_free_blocks for worker in decodes)
    return max(places, num_used / max(1, sum(worker.num_blocks for worker in decodes))) / _MAX_SHARE
