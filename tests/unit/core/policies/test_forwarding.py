"""What a gateway decides by itself."""

from dataclasses import replace

import pytest

from penstock.core.errors import (
    BlocksExhausted,
    Draining,
    IncarnationMismatch,
    NoWorkers,
    PenstockError,
    QueueFull,
    Refused,
    StaleAttempt,
    WorkerLost,
)
from penstock.core.policies.forwarding import (
    InFlight,
    excluded_ids,
    merge_membership,
    order_candidates,
    rank_last_membership,
    waits_for_capacity,
)
from penstock.core.types import Candidate, Role, WorkerRef, WorkerState


def worker(name: str, role: Role = Role.PREFILL, incarnation: int = 1, revision: str = "r") -> WorkerState:
    return WorkerState(WorkerRef(name, incarnation, name), role, revision=revision)


def names(candidates: tuple[Candidate, ...]) -> list[str]:
    return [candidate.ref.worker_id for candidate in candidates]


P0, P1, D0, D1, M0 = (
    worker("p0"),
    worker("p1"),
    worker("d0", Role.DECODE),
    worker("d1", Role.DECODE),
    worker("m0", Role.MIXED),
)
BUSY = InFlight(num_prefill_tokens=5000, num_decodes=3)

RANKS = [
    # workers, in flight, expected prefill, decode, disaggregate
    ([P1, P0, D1, D0], {}, ["p0", "p1"], ["d0", "d1"], True),
    ([P0, P1, D0, D1], {("p0", 1): BUSY, ("d0", 1): BUSY}, ["p1", "p0"], ["d1", "d0"], True),
    ([P0, P1, D0], {("p0", 2): BUSY}, ["p0", "p1"], ["d0"], True),  # of another life
    ([replace(P0, prefill_s_per_token=1.0), P1, D0], {}, ["p1", "p0"], ["d0"], True),
    ([M0], {}, ["m0"], [], False),
    ([M0, P0], {}, ["m0"], [], False),  # nobody but m0 decodes, and it keeps its own
    ([M0, D0], {}, ["m0"], ["d0", "m0"], True),
    ([P0], {}, [], [], False),
    ([D0], {}, [], [], False),
    ([], {}, [], [], False),
    ([replace(P0, is_draining=True), P1, D0], {}, ["p1"], ["d0"], True),
    ([worker("old", revision="q"), P0, D0], {}, ["p0"], ["d0"], True),  # revisions are never paired
]


@pytest.mark.parametrize(("workers", "in_flight", "prefill", "decode", "disaggregate"), RANKS)
def test_ranks_the_last_membership(
    workers: list[WorkerState],
    in_flight: dict[tuple[str, int], InFlight],
    prefill: list[str],
    decode: list[str],
    disaggregate: bool,
) -> None:
    decision = rank_last_membership(workers, in_flight, 100)
    assert names(decision.prefill) == prefill
    assert names(decision.decode) == decode
    assert decision.disaggregate is disaggregate


def test_orders_candidates_without_the_lost_and_with_suspects_last() -> None:
    candidates = [Candidate(state.ref) for state in (P0, P1, D0)]
    assert names(order_candidates(candidates, {("p1", 1)}, {("p0", 1)})) == ["d0", "p0"]
    assert names(order_candidates(candidates, {("p1", 9)}, ())) == ["p0", "p1", "d0"]


def test_excludes_a_lost_worker_until_it_is_back_as_another_life() -> None:
    lost = {("p0", 1), ("gone", 5)}
    assert excluded_ids(lost, [P0, P1]) == {"p0", "gone"}
    assert excluded_ids(lost, [worker("p0", incarnation=2)]) == {"gone"}


def test_a_new_router_is_completed_by_what_was_known() -> None:
    back = worker("p0", incarnation=2)
    assert list(merge_membership([P0, P1], [back])) == [back, P1]


@pytest.mark.parametrize(
    ("error", "does_wait"),
    [
        (QueueFull("x"), True),
        (BlocksExhausted("x"), True),
        (Refused("x"), True),
        (Draining("x"), False),
        (IncarnationMismatch("x"), False),
        (StaleAttempt("x"), False),
        (WorkerLost("x"), False),
        (NoWorkers("x"), False),
    ],
)
def test_only_a_full_worker_is_waited_for(error: PenstockError, does_wait: bool) -> None:
    assert waits_for_capacity(error) is does_wait
