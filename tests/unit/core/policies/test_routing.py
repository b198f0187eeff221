"""Ranking of prefill and decode workers: tables, and the spreading of equal ones."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from penstock.core.policies.in_flight import RoutedWork, uncovered, with_in_flight
from penstock.core.policies.routing import RoutingPolicy, rank
from penstock.core.types import Role, RouteQuery, RoutingDecision, WorkerRef, WorkerState

NOW_S = 100.0
POLICY = RoutingPolicy()
# Found by search: exploring prices all prefill workers alike, which is not what these tables are about.
ORDINARY_ID = "request-0"


def worker(name: str, role: Role = Role.PREFILL, **changes: Any) -> WorkerState:
    state = WorkerState(
        ref=WorkerRef(name, 1, f"{name}:1"),
        role=role,
        num_blocks=1000,
        num_free_blocks=1000,
        heartbeat_s=NOW_S,
        prefill_base_s=0.01,
        prefill_s_per_token=1e-4,
    )
    return replace(state, **changes)


def query(num_tokens: int = 1000, request_id: str = ORDINARY_ID, **changes: Any) -> RouteQuery:
    return replace(RouteQuery(request_id, num_tokens, max_tokens=64), **changes)


def route(*workers: WorkerState, cached: dict[str, int] | None = None, **changes: Any) -> RoutingDecision:
    return rank(query(**changes), workers, cached or {}, NOW_S, POLICY)


def names(candidates: tuple[object, ...]) -> list[str]:
    return [candidate.ref.worker_id for candidate in candidates]  # type: ignore[attr-defined]


DECODE = worker("d", Role.DECODE)


@pytest.mark.parametrize(
    ("better", "worse", "cached"),
    [
        pytest.param({}, {"num_prefill_tokens": 500}, {}, id="shorter queue"),
        pytest.param({"prefill_s_per_token": 5e-5}, {}, {}, id="faster worker"),
        pytest.param({"num_prefill_tokens": 500}, {}, {"better": 800}, id="prefix hit worth more than the queue"),
        pytest.param({}, {"num_prefill_tokens": 2000}, {"worse": 800}, id="queue longer than the prefix hit is worth"),
        pytest.param({"num_prefill_tokens": 9000}, {"num_free_blocks": 10}, {}, id="room now before a short queue"),
        pytest.param({"num_prefill_tokens": 9000}, {"num_running": 256}, {}, id="a place in the batch"),
        pytest.param(
            {}, {"prefill_s_per_token": 0.0, "num_prefill_tokens": 500}, {}, id="unmeasured priced as its peer"
        ),
    ],
)
def test_prefill_is_ranked_by_predicted_ttft(
    better: dict[str, Any], worse: dict[str, Any], cached: dict[str, int]
) -> None:
    decision = route(worker("worse", **worse), worker("better", **better), DECODE, cached=cached)
    assert names(decision.prefill) == ["better", "worse"]


@pytest.mark.parametrize(
    ("better", "worse", "cached"),
    [
        pytest.param({}, {"num_waiting": 10}, {}, id="fewer sequences"),
        pytest.param({}, {"num_free_blocks": 500}, {}, id="more free blocks"),
        pytest.param({"num_waiting": 10}, {"num_free_blocks": 62}, {}, id="no room for prompt and headroom comes last"),
        pytest.param(
            {"token_interval_s": 0.01, "num_running": 9}, {"token_interval_s": 0.03, "num_running": 9}, {}, id="faster"
        ),
        pytest.param(
            {"token_interval_s": 0.011, "num_running": 8},
            {"token_interval_s": 0.010, "num_running": 9},
            {},
            id="a measured difference within tolerance is none",
        ),
        pytest.param(
            {"token_interval_s": 9.0},
            {"token_interval_s": 0.01, "num_running": 200},
            {},
            id="idle: old measure is void",
        ),
        pytest.param({"num_waiting": 10}, {}, {"better": 1000}, id="prefix hit worth a little load"),
        pytest.param({}, {"num_waiting": 100}, {"worse": 1000}, id="but not a lot"),
    ],
)
def test_decode_is_ranked_by_predicted_interval_and_room(
    better: dict[str, Any], worse: dict[str, Any], cached: dict[str, int]
) -> None:
    workers = worker("worse", Role.DECODE, **worse), worker("better", Role.DECODE, **better)
    assert names(route(worker("p"), *workers, cached=cached).decode) == ["better", "worse"]


@pytest.mark.parametrize(
    ("changes", "excluded"),
    [
        pytest.param({"is_draining": True}, (), id="draining"),
        pytest.param({"heartbeat_s": NOW_S - 3}, (), id="stale"),
        pytest.param({"num_blocks": 62}, (), id="too small for the prompt even when empty"),
        pytest.param({}, ("out",), id="lost by this request before"),
        pytest.param({"role": Role.ENCODER}, (), id="encoder"),
    ],
)
def test_unfit_workers_are_left_out(changes: dict[str, Any], excluded: tuple[str, ...]) -> None:
    decision = route(worker("out", **changes), worker("in"), DECODE, excluded_worker_ids=frozenset(excluded))
    assert names(decision.prefill) == ["in"]


def test_stale_workers_are_believed_when_there_are_no_others() -> None:
    assert names(route(worker("stale", heartbeat_s=0.0)).prefill) == ["stale"]


def test_no_workers_means_no_route() -> None:
    assert route() == RoutingDecision(prefill=(), decode=(), disaggregate=False)


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_workers_of_one_role_serve_alone_when_the_other_is_missing(role: Role) -> None:
    decision = route(worker("only", role))
    assert (names(decision.prefill), decision.decode, decision.disaggregate) == (["only"], (), False)


def test_mixed_workers_are_candidates_for_both() -> None:
    decision = route(worker("a", Role.MIXED), worker("b", Role.MIXED))
    assert set(names(decision.prefill)) == set(names(decision.decode)) == {"a", "b"}
    assert decision.prefill[0].ref == decision.decode[0].ref  # equal workers: the same one comes first in both


def test_only_equal_revisions_are_paired_and_a_whole_one_is_preferred() -> None:
    old = worker("p-old", revision="1", num_prefill_tokens=5000), worker("d-old", Role.DECODE, revision="1")
    decision = route(*old, worker("p-new", revision="2"))
    assert (names(decision.prefill), names(decision.decode)) == (["p-old"], ["d-old"])
    decision = route(*old, worker("p-new", revision="2"), worker("d-new", Role.DECODE, revision="2"))
    assert (names(decision.prefill), names(decision.decode)) == (["p-new"], ["d-new"])


def test_prediction_is_base_plus_queued_and_uncached_tokens() -> None:
    (candidate,) = route(worker("p", num_prefill_tokens=500), DECODE, cached={"p": 400}).prefill
    assert candidate.predicted_s == pytest.approx(0.01 + (500 + 600) * 1e-4)
    assert candidate.num_cached_tokens == 400


def test_only_the_best_few_are_named_in_order() -> None:
    decision = route(*(worker(f"p{n}", num_prefill_tokens=n * 200) for n in reversed(range(100))), DECODE)
    assert names(decision.prefill) == ["p0", "p1", "p2", "p3"]


def test_equal_workers_share_requests_evenly_even_when_load_never_shows() -> None:
    # paced requests find every worker idle; slightly different measurements must not send all to one
    workers = [worker(f"p{n}", prefill_s_per_token=1e-4 * (1 + n / 200)) for n in range(8)]
    firsts = Counter(route(*workers, DECODE, request_id=f"r-{n}").prefill[0].ref.worker_id for n in range(2000))
    assert len(firsts) == 8
    assert max(firsts.values()) < 1.4 * 250
    assert min(firsts.values()) > 0.6 * 250


def test_a_worker_once_measured_slow_is_tried_again_now_and_then() -> None:
    workers = [worker("fast"), worker("slow", prefill_s_per_token=0.1)]
    firsts = Counter(route(*workers, DECODE, request_id=f"r-{n}").prefill[0].ref.worker_id for n in range(2000))
    assert 10 < firsts["slow"] < 100


def test_ranking_is_deterministic() -> None:
    workers = [worker(f"p{n}") for n in range(20)]
    assert route(*workers, DECODE) == route(*reversed(workers), DECODE)


def test_a_burst_between_two_heartbeats_spreads_evenly_over_equal_workers() -> None:
    states = {f"{role}{n}": worker(f"{role}{n}", role) for role in (Role.PREFILL, Role.DECODE) for n in range(5)}
    firsts: Counter[str] = Counter()
    for n in range(100):
        decision = rank(query(request_id=f"burst-{n}"), states.values(), {}, NOW_S, POLICY)
        prefill, decode = decision.prefill[0].ref.worker_id, decision.decode[0].ref.worker_id
        states[prefill] = with_in_flight(states[prefill], [RoutedWork(NOW_S, num_prefill_tokens=1000)])
        states[decode] = with_in_flight(states[decode], [RoutedWork(NOW_S, num_context_tokens=1000, num_blocks=63)])
        firsts.update((prefill, decode))
    assert len(firsts) == 10
    assert max(firsts.values()) - min(firsts.values()) <= 2


def test_in_flight_work_counts_until_a_heartbeat_can_show_it() -> None:
    routed = [RoutedWork(10.0, num_prefill_tokens=100, num_blocks=7), RoutedWork(12.0, num_context_tokens=50)]
    state = with_in_flight(worker("p"), routed)
    assert (state.num_waiting, state.num_prefill_tokens, state.num_context_tokens) == (2, 100, 50)
    assert state.num_free_blocks == 993
    assert uncovered(routed, heartbeat_s=10.04, grace_s=0.05) == routed
    assert uncovered(routed, heartbeat_s=10.05, grace_s=0.05) == routed[1:]
    assert uncovered(routed, heartbeat_s=12.06, grace_s=0.05) == []
