from collections import Counter
from collections.abc import Callable

import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.errors import NoWorkers
from penstock.core.pools import RolesView
from penstock.core.types import GatewayLoad, Role, RouteQuery, RoutingDecision
from penstock.scheduler.router import Router
from penstock.wire.messages import HeartbeatRequest
from tests.unit.fake_clock import FakeClock
from tests.unit.workers import make_worker

HASHES = tuple(hash_blocks(list(range(1000))))


@pytest.fixture
def router(clock: Callable[[], float]) -> Router:
    made = Router("default", now_s=clock)
    for n in range(2):
        made.admit(make_worker(f"p{n}"))
        made.admit(make_worker(f"d{n}", Role.DECODE))
    return made


def decide(router: Router, request_id: str = "r-0", **changes: object) -> RoutingDecision:
    answer = router.answer(RouteQuery(request_id, num_tokens=1000, max_tokens=64, **changes))  # type: ignore[arg-type]
    assert answer.request_id == request_id
    assert answer.decision is not None
    return answer.decision


def test_routes_pair_a_prefill_with_a_decode_worker(router: Router) -> None:
    decision = decide(router)
    assert {c.ref.worker_id for c in decision.prefill} == {"p0", "p1"}
    assert {c.ref.worker_id for c in decision.decode} == {"d0", "d1"}
    assert decision.disaggregate


def test_a_lone_mixed_worker_decodes_in_place(clock: Callable[[], float]) -> None:
    router = Router("default", now_s=clock)
    router.admit(make_worker("m", Role.MIXED))
    assert not decide(router).disaggregate


def test_a_burst_between_heartbeats_spreads_over_equal_workers(router: Router) -> None:
    firsts: Counter[str] = Counter()
    for n in range(100):
        decision = decide(router, f"r-{n}")
        firsts.update((decision.prefill[0].ref.worker_id, decision.decode[0].ref.worker_id))
    assert all(49 <= firsts[name] <= 51 for name in ("p0", "p1", "d0", "d1"))


def test_work_in_flight_is_dropped_once_heartbeats_show_it(router: Router, clock: FakeClock) -> None:
    first = decide(router, "r-0").prefill[0].ref.worker_id
    clock.now += 0.01  # too early to show what was just routed
    for n in range(2):
        router.heartbeat(HeartbeatRequest(make_worker(f"p{n}")))
    assert decide(router, "r-1").prefill[0].ref.worker_id != first
    clock.now += 0.5
    for n in range(2):
        router.heartbeat(HeartbeatRequest(make_worker(f"p{n}")))
    predicted_s = decide(router, "r-2").prefill[0].predicted_s
    assert predicted_s == pytest.approx(0.005 + 1000 * 1e-4)  # an empty queue


def test_requests_follow_their_prefix_first_by_expectation_then_by_news(router: Router, clock: FakeClock) -> None:
    first = decide(router, "r-0", block_hashes=HASHES).prefill[0].ref.worker_id
    clock.now += 1.0
    for n in range(2):
        router.heartbeat(HeartbeatRequest(make_worker(f"p{n}")))
    again = decide(router, "r-1", block_hashes=HASHES).prefill[0]
    assert (again.ref.worker_id, again.num_cached_tokens) == (first, 992)
    other = "p0" if first == "p1" else "p1"
    router.heartbeat(HeartbeatRequest(make_worker(first), evicted_hashes=HASHES))
    router.heartbeat(HeartbeatRequest(make_worker(other), stored_hashes=HASHES, is_full=True))
    assert decide(router, "r-2", block_hashes=HASHES).prefill[0].ref.worker_id == other


def test_unknown_workers_are_told_to_register(router: Router) -> None:
    assert not router.heartbeat(HeartbeatRequest(make_worker("stranger")))
    assert not router.heartbeat(HeartbeatRequest(make_worker("p0", incarnation=2)))
    assert router.heartbeat(HeartbeatRequest(make_worker("p0")))


def test_a_new_life_of_a_worker_replaces_the_old_one_with_its_prefixes(router: Router) -> None:
    router.heartbeat(HeartbeatRequest(make_worker("p0"), stored_hashes=HASHES, is_full=True))
    router.admit(make_worker("p0", incarnation=2))
    decision = decide(router, block_hashes=HASHES)
    (candidate,) = [c for c in decision.prefill if c.ref.worker_id == "p0"]
    assert (candidate.ref.incarnation, candidate.num_cached_tokens) == (2, 0)


def test_silent_workers_are_out_after_their_lease(router: Router, clock: FakeClock) -> None:
    clock.now += 2.0
    router.heartbeat(HeartbeatRequest(make_worker("p0")))
    clock.now += 2.0
    version = router.version
    router.tick()
    assert [worker.ref.worker_id for worker in router.workers] == ["p0"]
    assert router.version > version
    assert [c.ref.worker_id for c in decide(router).prefill] == ["p0"]


def test_no_route_comes_with_its_reason(router: Router) -> None:
    router.heartbeat(HeartbeatRequest(make_worker("p0", is_draining=True)))
    answer = router.answer(RouteQuery("r", 10, 10, excluded_worker_ids=frozenset({"p1", "d0", "d1"})))
    assert answer.decision is None
    assert isinstance(answer.error, NoWorkers)
    assert "4 known, 1 draining, 3 lost" in answer.error.message


def test_only_changes_that_gateways_must_hear_of_grow_the_version(router: Router) -> None:
    version = router.version
    router.heartbeat(HeartbeatRequest(make_worker("p0", num_running=3)))
    assert router.version == version
    router.heartbeat(HeartbeatRequest(make_worker("p0", is_draining=True)))
    assert router.version == version + 1
    assert {worker.ref.worker_id for worker in router.view(RolesView()).workers if worker.is_draining} == {"p0"}


def test_a_worker_that_has_moved_to_another_group_is_let_go(router: Router) -> None:
    version = router.version
    assert not router.heartbeat(HeartbeatRequest(make_worker("p0", group="long")))  # it has to register there
    assert "p0" not in {worker.ref.worker_id for worker in router.workers}
    assert router.version == version + 1
    router.gone("p0")  # heard of once more, by somebody else
    assert router.version == version + 1


def test_a_gateway_that_comes_back_goes_on_counting_where_it_was(router: Router) -> None:
    router.hear_gateway("g", GatewayLoad(0, 1000, 1_000_000))
    assert router.num_arrived == 0  # its life was longer than the router's
    router.hear_gateway("g", GatewayLoad(3, 1010, 1_010_000))
    assert (router.num_arrived, router.demand().num_waiting) == (10, 3)
    router.gateway_left("g")
    assert router.demand().num_waiting == 0
    before = router.demand()
    router.hear_gateway("g", GatewayLoad(0, 1010, 1_010_000))
    assert (router.num_arrived, router.demand()) == (10, before)
    router.hear_gateway("g", GatewayLoad(2, 1015, 1_015_000))
    assert (router.num_arrived, router.demand().num_waiting) == (15, 2)
