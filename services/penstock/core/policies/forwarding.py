"""What a gateway decides by itself: whom to offer a request next, and whom to ask when no router answers.

Life of a request: before and after `routing`, and instead of it while the control plane is away.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from penstock.core.errors import BlocksExhausted, PenstockError, QueueFull, Refused
from penstock.core.types import Candidate, Role, RoutingDecision, WorkerRef, WorkerState

WorkerLife = tuple[str, int]  # (worker_id, incarnation)

UNMEASURED_S_PER_TOKEN = 1e-4  # a worker that has not prefilled yet: any plausible number spreads requests evenly


@dataclass(frozen=True, slots=True)
class InFlight:
    """What this gateway has under way on one worker."""

    num_prefill_tokens: int = 0  # offered, first token not seen
    num_decodes: int = 0  # decoding, or expected to


NOTHING_IN_FLIGHT = InFlight()


def life_of(ref: WorkerRef) -> WorkerLife:
    """Which life of which worker; a restarted worker is another one."""
    return ref.worker_id, ref.incarnation


def rank_last_membership(
    workers: Sequence[WorkerState], in_flight: Mapping[WorkerLife, InFlight], num_tokens: int
) -> RoutingDecision:
    """Rank the workers last heard of, best first; no candidates when none can serve.

    Reported loads are as old as the router's death, so only what this gateway itself has under way counts, weighed by
    each worker's measured speed. Workers correct the rest by refusing. Only one revision is ranked: prefill and
    decode of different revisions are never paired.
    """
    prefills = sorted(
        ((_predicted_s(worker, in_flight, num_tokens), worker) for worker in workers if worker.takes_prefill),
        key=lambda ranked: (ranked[0], ranked[1].ref.worker_id),
    )
    for _, best in prefills:
        peers = [(predicted_s, worker) for predicted_s, worker in prefills if worker.revision == best.revision]
        decodes = _rank_decodes([worker for worker in workers if worker.revision == best.revision], in_flight)
        if any(worker.role is Role.DECODE for worker in decodes):
            return RoutingDecision(
                tuple(Candidate(worker.ref, predicted_s) for predicted_s, worker in peers),
                tuple(Candidate(worker.ref, worker.token_interval_s) for worker in decodes),
            )
        if decodes:  # only mixed workers decode: each keeps what it prefills
            mixed = tuple(Candidate(worker.ref, cost_s) for cost_s, worker in peers if worker.takes_decode)
            return RoutingDecision(mixed, (), disaggregate=False)
    return RoutingDecision((), (), disaggregate=False)


def order_candidates(
    candidates: Sequence[Candidate], lost: Collection[WorkerLife], suspects: Collection[WorkerLife]
) -> tuple[Candidate, ...]:
    """The candidates in rank order, without lives this request has lost, those others lost a moment ago last."""
    alive = [candidate for candidate in candidates if life_of(candidate.ref) not in lost]
    return tuple(sorted(alive, key=lambda candidate: life_of(candidate.ref) in suspects))


def waits_for_capacity(error: PenstockError) -> bool:
    """Whether the worker that said this may say otherwise soon; any other no is about the worker or the attempt."""
    return isinstance(error, (QueueFull, BlocksExhausted)) or type(error) is Refused


def excluded_ids(lost: Collection[WorkerLife], workers: Sequence[WorkerState]) -> frozenset[str]:
    """Names a router should leave out: lost lives, unless the worker has come back as another one."""
    if not lost:
        return frozenset()
    now_alive = {worker.ref.worker_id: worker.ref.incarnation for worker in workers}
    return frozenset(name for name, incarnation in lost if now_alive.get(name, incarnation) == incarnation)


def merge_membership(known: Sequence[WorkerState], heard: Sequence[WorkerState]) -> Sequence[WorkerState]:
    """What a router that has just started says, and those it does not know of because they have yet to register."""
    names = {worker.ref.worker_id for worker in heard}
    return (*heard, *(worker for worker in known if worker.ref.worker_id not in names))


def _predicted_s(worker: WorkerState, in_flight: Mapping[WorkerLife, InFlight], num_tokens: int) -> float:
    ahead = in_flight.get(life_of(worker.ref), NOTHING_IN_FLIGHT).num_prefill_tokens
    return worker.prefill_base_s + (ahead + num_tokens) * (worker.prefill_s_per_token or UNMEASURED_S_PER_TOKEN)


def _rank_decodes(workers: Sequence[WorkerState], in_flight: Mapping[WorkerLife, InFlight]) -> list[WorkerState]:
    def share(worker: WorkerState) -> tuple[bool, float, str]:
        under_way = in_flight.get(life_of(worker.ref), NOTHING_IN_FLIGHT).num_decodes
        return worker.role is not Role.DECODE, under_way / max(1, worker.max_num_sequences), worker.ref.worker_id

    return sorted((worker for worker in workers if worker.takes_decode), key=share)
