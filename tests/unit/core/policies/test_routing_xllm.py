"""xLLM's policy in both versions, branch by branch."""

from dataclasses import replace

import pytest

from penstock.core.policies.routing_xllm import as_coded, as_reported, cache_score, flip_when_idle
from penstock.core.pools import Flip, Pool, PooledWorker
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Role, WorkerRef, WorkerState

COST = StepCost(0.0, 0.0001, 0.0, 0.010, 1e-6, 0.001)  # 0.1 ms per token; 10 ms, 1 us per context token, 1 ms each
SLO = Slo(ttft_s=1.0, tpot_s=0.050)
TO_PREFILL, TO_DECODE = (Role.DECODE, Role.PREFILL), (Role.PREFILL, Role.DECODE)


def p(name: str, queued_s: float = 0.0, pool: Pool = Pool.PREFILL, **changes: object) -> PooledWorker:
    state = WorkerState(WorkerRef(name, 1, f"{name}:1"), Role.MIXED, num_blocks=9999, num_free_blocks=9999)
    return PooledWorker(replace(state, **changes), pool, queued_s)  # type: ignore[arg-type]


def d(name: str, num_context: int = 0, queued_s: float = 0.0, pool: Pool = Pool.DECODE, **more: object) -> PooledWorker:
    return p(name, queued_s, pool, num_context_tokens=num_context, num_running=1, **more)


# With one sequence running and 1000 tokens more: TPOT = 0.010 + 2 * 0.001 + (context + 1000) * 1e-6 s,
# so 37,000 tokens are the most that hold 50 ms.
@pytest.mark.parametrize(
    ("case", "workers", "chosen", "flip"),
    [
        ("shortest queue, fewest tokens", [p("p1", 0.5), p("p2", 0.2), d("d1", 900), d("d2", 100)], "p2 d2", None),
        ("0.9 + 0.1 s just holds", [p("p1", 0.9), p("x", 0.0, Pool.DECODE_TO_PREFILL), d("d1")], "p1 d1", None),
        (
            "else the pool on its way, which decodes what it prefills",
            [p("p1", 0.95), p("x", 0.1, Pool.DECODE_TO_PREFILL), d("d1")],
            "x x",
            None,
        ),
        (
            "else the lightest decode worker flips",
            [p("p1", 0.95), d("d1", 900), d("d2", 100), d("d3", 500)],
            "p1 d2",
            (*TO_PREFILL, "d2"),
        ),
        (
            "rather one that still prefills",
            [p("p1", 0.95), d("d1", 900), d("d2", 100), d("y", 500, pool=Pool.PREFILL_TO_DECODE)],
            "p1 d2",
            (*TO_PREFILL, "y"),
        ),
        ("two must go on decoding", [p("p1", 0.95), d("d1", 900), d("d2", 100)], "p1 d2", None),
        ("memory bounds decode", [p("p1"), d("d1", 900), d("d2", 100, num_free_blocks=9)], "p1 d1", None),
        ("so does its step", [p("p1"), d("d1", 900, num_waiting=40), d("d2", 2000)], "p1 d2", None),
    ],
)
def test_as_reported(case: str, workers: list[PooledWorker], chosen: str, flip: tuple[Role, Role, str] | None) -> None:
    choice = as_reported(1000, workers, COST, SLO)
    assert choice is not None
    assert f"{choice.prefill.worker_id} {choice.decode.worker_id}" == chosen, case
    assert choice.flip == (Flip(*flip) if flip else None)


@pytest.mark.parametrize(
    ("case", "workers", "chosen", "flip"),
    [
        ("shortest queue, first that holds", [p("p1", 0.5), p("p2", 0.2), d("d1", 900), d("d2", 100)], "p2 d1", None),
        ("none holds: the lightest", [p("p1"), d("d1", 39_000), d("d2", 38_000)], "p1 d2", None),
        (
            "none holds and prefill has spare: it flips",
            [p("p1", 0.4), p("p2", 0.1), d("d1", 39_000), d("d2", 38_000)],
            "p2 d2",
            (*TO_DECODE, "p2"),
        ),
        (
            "none to spare: mean queue 0.5 s, as many decode workers",
            [p("p1", 0.6), p("p2", 0.4), d("d1", 39_000), d("d2", 38_000)],
            "p2 d2",
            None,
        ),
        (
            "long queue: prefill beside the lightest decode, below half of TPOT",
            [p("p1", 1.1), d("d1", 20_000), d("d2", 11_000)],
            "d2 d1",
            None,
        ),
        ("not if that is the target itself", [p("p1", 1.1), d("d1", 11_000), d("d2", 20_000)], "p1 d1", None),
        ("nor near its bound", [p("p1", 1.1), d("d1", 20_000), d("d2", 13_000)], "p1 d1", None),
        ("nor with a longer queue", [p("p1", 1.1), d("d1", 20_000), d("d2", 11_000, queued_s=1.2)], "p1 d1", None),
    ],
)
def test_as_coded(case: str, workers: list[PooledWorker], chosen: str, flip: tuple[Role, Role, str] | None) -> None:
    choice = as_coded(1000, workers, COST, SLO)
    assert choice is not None
    assert f"{choice.prefill.worker_id} {choice.decode.worker_id}" == chosen, case
    assert choice.flip == (Flip(*flip) if flip else None)


@pytest.mark.parametrize("policy", [as_reported, as_coded])
def test_both_say_whether_the_objectives_hold(policy: object) -> None:
    def is_feasible(*workers: PooledWorker) -> bool:
        return policy(1000, workers, COST, SLO).is_feasible  # type: ignore[operator, no-any-return]

    assert is_feasible(p("p1"), d("d1"))
    assert not is_feasible(p("p1", 0.95), d("d1"))
    assert not is_feasible(p("p1"), d("d1", 39_000))


@pytest.mark.parametrize("policy", [as_reported, as_coded])
@pytest.mark.parametrize("workers", [[], [p("p1")], [d("d1")]])
def test_a_pair_needs_both_roles(policy: object, workers: list[PooledWorker]) -> None:
    assert policy(1000, workers, COST, SLO) is None  # type: ignore[operator]


@pytest.mark.parametrize(
    ("worker", "num_decode", "flips"),
    [
        (p("d1", pool=Pool.DECODE), 2, True),
        (p("d1", pool=Pool.DECODE), 1, False),
        (d("d1"), 2, False),
        (p("p1"), 2, False),
    ],
)
def test_an_idle_decode_worker_becomes_a_prefill_one(worker: PooledWorker, num_decode: int, flips: bool) -> None:
    expected = Flip(Role.DECODE, Role.PREFILL, worker.worker_id) if flips else None
    assert flip_when_idle(worker, num_decode) == expected


@pytest.mark.parametrize(
    ("num_cached", "num_free", "num_waiting", "score"),
    [
        (0, 100, 0, 0.0),
        (500, 100, 0, 0.5),  # integer division would make this 0
        (1000, 25, 0, 0.25),
        (500, 50, 4, -0.5),
        (0, 0, 8, -2.0),
    ],
)
def test_cache_score_is_match_less_memory_less_queue(
    num_cached: int, num_free: int, num_waiting: int, score: float
) -> None:
    state = p("p1", num_blocks=100, num_free_blocks=num_free, num_waiting=num_waiting).state
    assert cache_score(num_cached, 1000, state, most_waiting=8) == pytest.approx(score)
