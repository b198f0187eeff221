"""EPD's role switch, as its code decides."""

import pytest

from penstock.core.policies.role_switch import propose
from penstock.core.pools import Flip
from penstock.core.types import Role

E, P, D = Role.ENCODER, Role.PREFILL, Role.DECODE


@pytest.mark.parametrize(
    ("case", "queues", "num_workers", "direction"),
    [
        ("idle", (0, 0, 0), (5, 1, 2), None),
        ("EPD's own test: long answers after 5E1P2D", (0, 0, 40), (5, 1, 2), (E, D)),
        ("images pile up", (30, 2, 1), (2, 1, 5), (D, E)),
        ("all busy", (10, 6, 5), (5, 1, 2), None),
        ("one is not", (10, 6, 4), (2, 1, 5), (D, E)),
        ("busy ones give too, if they have most", (10, 6, 4), (2, 4, 2), (P, E)),
        ("the last worker stays", (10, 1, 1), (6, 1, 1), None),
        ("equal counts: the shorter queue gives", (10, 3, 2), (2, 3, 3), (D, E)),
    ],
)
def test_switches(
    case: str, queues: tuple[int, ...], num_workers: tuple[int, ...], direction: tuple[Role, Role] | None
) -> None:
    proposed = propose(dict(zip((E, P, D), queues, strict=True)), dict(zip((E, P, D), num_workers, strict=True)))
    assert proposed == (Flip(*direction) if direction else None), case
