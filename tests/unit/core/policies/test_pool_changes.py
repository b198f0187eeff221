"""Orders to change pools: who goes, and what must not be done."""

import pytest

from penstock.core.errors import ChangeRefused
from penstock.core.policies.pool_changes import PoolChange, plan_flip, plan_scale
from penstock.core.types import Role
from tests.unit.workers import make_worker

E, P, D, M = Role.ENCODER, Role.PREFILL, Role.DECODE, Role.MIXED
POOLS = [
    make_worker("p0", P),
    make_worker("p1", P, num_running=3),
    make_worker("p2", P, num_running=1),
    make_worker("d0", D, num_running=9),
    make_worker("d1", D, num_running=9),
]


@pytest.mark.parametrize(
    ("case", "targets", "changes"),
    [
        ("more", [(P, 5)], [PoolChange(P, 3, 5)]),
        ("the same", [(D, 2)], [PoolChange(D, 2, 2)]),
        ("the least loaded go first", [(P, 1)], [PoolChange(P, 3, 1, ("p0", "p2"))]),
        ("equal load: by name", [(D, 1)], [PoolChange(D, 2, 1, ("d0",))]),
        ("a role nobody has yet", [(M, 2)], [PoolChange(M, 0, 2)]),
        (
            "a stage may be left to mixed workers",
            [(M, 1), (P, 0)],
            [PoolChange(M, 0, 1), PoolChange(P, 3, 0, ("p0", "p2", "p1"))],
        ),
    ],
)
def test_plans_counts(case: str, targets: list[tuple[Role, int]], changes: list[PoolChange]) -> None:
    assert plan_scale(targets, POOLS) == (changes, None), case


def test_those_that_drain_do_not_count() -> None:
    workers = [*POOLS, make_worker("p3", P, is_draining=True)]
    assert plan_scale([(P, 4)], workers)[0] == [PoolChange(P, 3, 4)]


def test_encoders_are_scaled_for_themselves_even_to_none() -> None:
    """Requests without images need none, and language workers may encode themselves."""
    encoders = [make_worker("e0", E, num_waiting=4), make_worker("e1", E)]
    assert plan_scale([(E, 3)], [*POOLS, *encoders]) == ([PoolChange(E, 2, 3)], None)
    assert plan_scale([(E, 1)], [*POOLS, *encoders]) == ([PoolChange(E, 2, 1, ("e1",))], None)
    assert plan_scale([(E, 0)], [*POOLS, *encoders]) == ([PoolChange(E, 2, 0, ("e1", "e0"))], None)


def test_encoders_do_not_stand_in_for_language_workers() -> None:
    refusal = plan_scale([(E, 2), (P, 0)], [*POOLS, make_worker("e0", E)])[1]
    assert refusal is not None
    assert "no worker for prefill" in refusal.message


@pytest.mark.parametrize(("role", "stage"), [(P, "prefill"), (D, "decode")])
def test_a_stage_is_not_left_to_nobody(role: Role, stage: str) -> None:
    _, refusal = plan_scale([(role, 0)], POOLS)
    assert isinstance(refusal, ChangeRefused)
    assert f"no worker for {stage}" in refusal.message


def test_a_stage_that_nobody_serves_may_stay_so() -> None:
    """A group that is being built: its first prefill workers come before any decode worker."""
    assert plan_scale([(P, 3)], [make_worker("p0", P)])[1] is None
    assert plan_scale([(P, 3)], [])[1] is None


def test_plans_a_flip() -> None:
    assert plan_flip("p1", D, POOLS) == (POOLS[1], None)
    assert plan_flip("d0", M, POOLS) == (POOLS[3], None)


@pytest.mark.parametrize(
    ("case", "worker_id", "role", "says"),
    [
        ("unknown", "p9", D, "no worker 'p9' in this group; there are: d0, e0, p0"),
        ("draining", "p1", D, "p1 is draining"),
        ("other weights", "p0", E, "different weights"),
        ("other weights, the other way", "e0", P, "An encoder and a language worker hold different weights"),
        ("the last of its stage", "d0", P, "no worker for decode"),
    ],
)
def test_refuses_a_flip(case: str, worker_id: str, role: Role, says: str) -> None:
    workers = [make_worker("p0", P), make_worker("p1", P, is_draining=True), make_worker("d0", D), make_worker("e0", E)]
    refusal = plan_flip(worker_id, role, workers)[1]
    assert refusal is not None, case
    assert says in refusal.message


def test_the_last_of_its_stage_does_not_leave_the_group() -> None:
    workers = [make_worker("p0", P), make_worker("p1", P), make_worker("d0", D)]
    assert plan_flip("p1", P, workers, leaves=True)[1] is None
    refusal = plan_flip("d0", D, workers, leaves=True)[1]
    assert refusal is not None
    assert "no worker for decode" in refusal.message
