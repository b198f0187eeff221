"""Which worker flips, and why: one table per policy."""

from typing import Any

import pytest

from penstock.core.demand import Demand
from penstock.core.errors import InvalidSettings
from penstock.core.policies.flip_guard import FlipLimits, FlipState, finish
from penstock.core.pools import Flip
from penstock.core.role_controller import RoleDecision, RoleRules, decide
from penstock.core.role_pressure import ClusterView, pressures
from penstock.core.step_cost import StepCost
from penstock.core.timeline import Slo
from penstock.core.types import Role, WorkerState
from tests.unit.workers import make_worker

COST = StepCost(0.0, 1e-4, 0.0, 0.01, 0.0, 1e-4)  # 0.1 s per 1000 tokens; 10 ms per step, 0.1 ms more per sequence
AT_ONCE = FlipLimits(hold_s=0.0, cool_down_s=0.0, reverse_cool_down_s=0.0)
SLO = Slo(ttft_s=1.0, tpot_s=0.02)
EVEN = Demand(1000, 72)  # a worker prefills 10 of them in a second, and decodes as many
MANY_WAIT = Demand(1000, 72, num_waiting=400)
CODE = Demand(2000, 10)  # long prompts, short answers

Changes = dict[str, Any]  # of a worker
LONG_QUEUE: Changes = {"num_prefill_tokens": 20_000}
SLOW: Changes = {"num_running": 9, "num_decoding": 9, "token_interval_s": 0.03}
BUSY: Changes = {"num_running": 9, "num_decoding": 9, "token_interval_s": 0.016}
FULL: Changes = {"num_free_blocks": 10}
HALF: Changes = {"num_running": 150, "num_decoding": 150, "token_interval_s": 0.01}  # of 256 places


def ask(policy: str, workers: list[WorkerState], demand: Demand, wished: Flip | None = None) -> RoleDecision:
    rules = RoleRules(policy, slo=SLO, limits=AT_ONCE)
    return decide(ClusterView(workers, demand, COST), wished, FlipState(), 0.0, rules)


def flipped(decision: RoleDecision) -> str:
    flip = decision.flip
    return f"{flip.worker_id}: {flip.from_role} > {flip.to_role}" if flip else ""


def pools(p: Changes | None = None, d: Changes | None = None) -> list[WorkerState]:
    """Two prefill and two decode workers, the second of each with a little work; `p` and `d` change all of one role."""
    p, d = p or {}, d or {}
    return [
        make_worker("p0", **p),
        make_worker("p1", **{"num_prefill_tokens": 100, **p}),
        make_worker("d0", Role.DECODE, **d),
        make_worker("d1", Role.DECODE, **{"num_context_tokens": 100, **d}),
    ]


@pytest.mark.parametrize(
    ("case", "p", "d", "demand", "expected"),
    [
        ("balanced and at ease", {}, {}, EVEN, ""),
        ("nothing known of the traffic", {}, {}, Demand(), ""),
        ("prefill is strained", LONG_QUEUE, {}, EVEN, "d0: decode > prefill"),
        ("what waits at gateways strains it too", {}, {}, Demand(1000, 72, num_waiting=40), "d0: decode > prefill"),
        ("decode is slow", {}, SLOW, EVEN, "p0: prefill > decode"),
        ("decode is full", {}, FULL, EVEN, "p0: prefill > decode"),
        (
            "who waits for decode workers strains those",
            {},
            HALF,
            MANY_WAIT,
            "p0: prefill > decode",
        ),
        (
            "unless prefill has prompts to compute",
            LONG_QUEUE,
            HALF,
            MANY_WAIT,
            "d0: decode > prefill",
        ),
        ("both are strained, and in balance", LONG_QUEUE, SLOW, EVEN, ""),
        ("both are strained: balance decides", LONG_QUEUE, SLOW, CODE, "d0: decode > prefill"),
        ("every place is taken", {}, {"num_running": 256}, EVEN, "p0: prefill > decode"),
        ("prefill is strained, decode busy itself", LONG_QUEUE, BUSY, EVEN, ""),
        ("the mean request needs more prefill", {}, {}, CODE, "d0: decode > prefill"),
        ("it does, but decode is busy", {}, BUSY, CODE, ""),
        ("it does, but the TTFT share says decode is short", {}, {}, Demand(2000, 10, ttft_share=0.1), ""),
        ("it does, and the TTFT share agrees", {}, {}, Demand(2000, 10, ttft_share=0.95), "d0: decode > prefill"),
    ],
)
def test_combined(case: str, p: Changes, d: Changes, demand: Demand, expected: str) -> None:
    decision = ask("combined", pools(p, d), demand)
    assert flipped(decision) == expected, (case, decision.proposal.reason)


def test_one_still_on_its_way_out_is_taken_back_first() -> None:
    workers = [
        make_worker("p0", num_prefill_tokens=20_000),
        make_worker("d0", Role.DECODE),
        make_worker("d1", Role.DECODE, num_prefill_tokens=50, num_context_tokens=900),  # was a prefill worker
    ]
    assert flipped(ask("combined", workers, EVEN)) == "d1: decode > prefill"


def test_an_encoder_at_ease_helps_a_strained_role_and_is_helped() -> None:
    encoders = [make_worker(f"e{n}", Role.ENCODER) for n in range(2)]
    language = [make_worker("p0"), make_worker("d0", Role.DECODE), make_worker("d1", Role.DECODE)]
    slow = [make_worker("d0", Role.DECODE, **SLOW)]
    assert flipped(ask("combined", [*encoders, make_worker("p0"), *slow], EVEN)) == "e0: encoder > decode"
    strained = [make_worker("e0", Role.ENCODER, num_prefill_tokens=40_000)]
    assert flipped(ask("combined", [*strained, *language], EVEN)) == "d0: decode > encoder"


def test_the_last_worker_of_a_role_stays() -> None:
    workers = [make_worker("p0", **LONG_QUEUE), make_worker("d0", Role.DECODE)]
    decision = ask("combined", workers, EVEN)
    assert decision.flip is None
    assert "none can give" in decision.proposal.reason


def test_xllm_follows_the_wish_of_its_routing_and_else_its_thresholds() -> None:
    wish = Flip(Role.DECODE, Role.PREFILL, "d1")
    assert ask("xllm", pools(), EVEN, wish).flip == wish
    assert flipped(ask("xllm", pools(LONG_QUEUE), EVEN)) == "d0: decode > prefill"
    assert flipped(ask("xllm", pools(), EVEN)) == ""


def test_epd_moves_from_most_workers_to_the_longest_queue() -> None:
    workers = [
        *(make_worker(f"e{n}", Role.ENCODER) for n in range(3)),
        make_worker("p0"),
        make_worker("d0", Role.DECODE, num_running=250),
    ]
    assert flipped(ask("epd", workers, EVEN)) == "e0: encoder > decode"


@pytest.mark.parametrize(("ttft_share", "expected"), [(0.95, "d0: decode > prefill"), (0.03, "p0: prefill > decode")])
def test_the_ttft_share_alone_moves_workers(ttft_share: float, expected: str) -> None:
    assert flipped(ask("share", pools(), Demand(1000, 72, ttft_share=ttft_share))) == expected


def test_roles_stay_where_nobody_controls_them() -> None:
    assert ask("none", pools(LONG_QUEUE), EVEN).flip is None


def test_a_flip_waits_for_the_guard_and_only_one_is_in_flight() -> None:
    rules = RoleRules("combined", slo=SLO, limits=FlipLimits(hold_s=2.0, cool_down_s=3.0))
    view, state, begun = ClusterView(pools(LONG_QUEUE), EVEN, COST), FlipState(), []
    for now_s in range(10):
        decision = decide(view, None, state, float(now_s), rules)
        state = decision.state
        begun += [now_s] if decision.flip else []
    assert begun == [2]
    state = finish(state, 10.0)
    assert decide(view, None, state, 12.0, rules).flip is None  # cools down
    assert decide(view, None, state, 13.0, rules).flip is not None


def test_pressures_are_of_roles_that_have_workers() -> None:
    view = ClusterView([make_worker("p0", num_prefill_tokens=4000)], EVEN, COST)
    assert pressures(view, SLO) == {Role.PREFILL: pytest.approx(0.5)}


def test_an_unknown_policy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidSettings, match="combined"):
        RoleRules("alphabet")
