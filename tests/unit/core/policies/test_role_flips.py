"""Which worker flips under which pressure."""

from dataclasses import replace

import pytest

from penstock.core.policies.role_flips import FlipThresholds, PoolPressure, pressure, propose
from penstock.core.pools import Flip, Pool, PooledWorker
from penstock.core.timeline import Slo
from penstock.core.types import Role, WorkerRef, WorkerState

THRESHOLDS = FlipThresholds()
EASY = PoolPressure(ttft=0.3, interval=0.5, free_share=0.6)


def worker(name: str, pool: Pool, queued_s: float = 0.0, **changes: object) -> PooledWorker:
    state = WorkerState(WorkerRef(name, 1, f"{name}:1"), Role.MIXED, num_blocks=100, num_free_blocks=100)
    return PooledWorker(replace(state, **changes), pool, queued_s)  # type: ignore[arg-type]


SETTLED = [
    worker("p1", Pool.PREFILL, 0.5),
    worker("p2", Pool.PREFILL, 0.2),
    worker("d1", Pool.DECODE, num_context_tokens=900),
    worker("d2", Pool.DECODE, num_context_tokens=100),
]
LEAVING = [
    *SETTLED,
    worker("y", Pool.PREFILL_TO_DECODE, num_context_tokens=5000),
    worker("x", Pool.DECODE_TO_PREFILL, 0.9),
]


@pytest.mark.parametrize(
    ("case", "now", "workers", "flips"),
    [
        ("both at ease", EASY, SETTLED, ""),
        ("prefill short: lightest decode", replace(EASY, ttft=1.1), SETTLED, "d2"),
        ("rather one on its way there", replace(EASY, ttft=1.1), LEAVING, "y"),
        ("decode slow: shortest queue", replace(EASY, interval=1.1), SETTLED, "p2"),
        ("rather one on its way here", replace(EASY, interval=1.1), LEAVING, "x"),
        ("decode full", replace(EASY, free_share=0.04), SETTLED, "p2"),
        ("both short: neither", replace(EASY, ttft=1.1, interval=1.1), SETTLED, ""),
        ("decode has none to give", replace(EASY, ttft=1.1, interval=0.8), SETTLED, ""),
        ("nor when memory runs low", replace(EASY, ttft=1.1, free_share=0.1), SETTLED, ""),
        ("prefill has none to give", replace(EASY, interval=1.1, ttft=0.8), SETTLED, ""),
        ("nobody to flip", replace(EASY, ttft=1.1), SETTLED[:2], ""),
    ],
)
def test_proposes(case: str, now: PoolPressure, workers: list[PooledWorker], flips: str) -> None:
    proposed = propose(workers, now, THRESHOLDS)
    assert (proposed.worker_id if proposed else "") == flips, case
    if proposed:
        is_prefill = flips in ("p1", "p2", "x")
        roles = (Role.PREFILL, Role.DECODE) if is_prefill else (Role.DECODE, Role.PREFILL)
        assert proposed == Flip(*roles, flips)


@pytest.mark.parametrize("ttft", [0.0, 0.5, 0.7, 0.9, 1.0, 1.1, 5.0])
@pytest.mark.parametrize("interval", [0.0, 0.5, 0.7, 0.9, 1.0, 1.1, 5.0])
def test_a_pool_never_both_gives_and_takes(ttft: float, interval: float) -> None:
    proposed = propose(SETTLED, PoolPressure(ttft, interval, 0.5), THRESHOLDS)
    if proposed:
        giver, taker = (ttft, interval) if proposed.from_role is Role.PREFILL else (interval, ttft)
        assert giver <= THRESHOLDS.ease < THRESHOLDS.strain < taker


def test_pressure_is_measured_against_the_objectives() -> None:
    workers = [
        worker("p1", Pool.PREFILL, 0.5),
        worker("x", Pool.DECODE_TO_PREFILL, 0.3),
        worker("d1", Pool.DECODE, num_running=4, token_interval_s=0.04, num_free_blocks=20),
        worker("d2", Pool.DECODE, num_running=4, token_interval_s=0.02, num_free_blocks=30),
        worker("y", Pool.PREFILL_TO_DECODE, token_interval_s=9.9),  # idle: its interval is of the past
    ]
    now = pressure(workers, prefill_s=0.1, slo=Slo(ttft_s=0.5, tpot_s=0.05))
    assert now.ttft == pytest.approx(0.8)
    assert now.interval == pytest.approx(0.6)
    assert now.free_share == pytest.approx(0.5)


def test_an_empty_pool_is_under_any_pressure() -> None:
    now = pressure([], 0.1, Slo(1.0, 0.05))
    assert now == PoolPressure(float("inf"), float("inf"), 0.0)
