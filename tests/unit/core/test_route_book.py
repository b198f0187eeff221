"""What is not told by the live router's own tests: rules, accounting, wishes."""

import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.errors import InvalidSettings
from penstock.core.membership import Heard
from penstock.core.policies.routing_mooncake import MooncakePolicy
from penstock.core.route_book import RouteBook, RouteRules
from penstock.core.routing_orders import OrderPolicies, PrefixFetch
from penstock.core.types import Role, RouteQuery, RoutingDecision, WorkerState
from tests.unit.workers import make_worker


def book_of(rules: RouteRules, *workers: WorkerState) -> RouteBook:
    book = RouteBook(rules)
    for worker in workers:
        book.admit(worker, 0.0)
    return book


def answer(book: RouteBook, number: int) -> RoutingDecision:
    ranking = book.answer(RouteQuery(str(number), 1000, 64), 0.0)
    assert ranking is not None
    return ranking.decision


@pytest.mark.parametrize(("counts_in_flight", "num_firsts"), [(True, 2), (False, 1)])
def test_without_accounting_a_burst_herds_on_the_idlest(counts_in_flight: bool, num_firsts: int) -> None:
    rules = RouteRules("least_load", counts_in_flight=counts_in_flight)
    book = book_of(rules, make_worker("p0"), make_worker("p1"), make_worker("d0", Role.DECODE))
    firsts = {answer(book, number).prefill[0].ref.worker_id for number in range(10)}
    assert len(firsts) == num_firsts


def test_what_was_routed_shows_in_the_states_but_not_in_the_members() -> None:
    book = book_of(RouteRules(), make_worker("p0"), make_worker("d0", Role.DECODE))
    answer(book, 1)
    assert [state.num_waiting for state in book.workers] == [0, 0]
    assert [state.num_waiting for state in book.states] == [1, 1]
    assert book.heartbeat(make_worker("p0"), 1.0) is Heard.SAME
    assert [state.num_waiting for state in book.states] == [0, 1]


def test_an_unknown_order_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidSettings, match="mooncake"):
        RouteRules(order="alphabet")


@pytest.mark.parametrize(("max_image_shards", "num_encoders"), [(0, 3), (2, 2), (1, 1)])
def test_images_are_spread_over_idle_encoders_and_count_as_work_in_flight(
    max_image_shards: int, num_encoders: int
) -> None:
    encoders = [make_worker(f"e{n}", Role.ENCODER, prefill_s_per_token=1e-4) for n in range(3)]
    gone = make_worker("e3", Role.ENCODER, is_draining=True)
    book = book_of(RouteRules(max_image_shards=max_image_shards), *encoders, gone, make_worker("p0"))
    shards = book.shard_images([1000] * 6, 0.0)
    assert len(shards) == num_encoders
    assert sorted(index for indices in shards.values() for index in indices) == list(range(6))
    assert sum(state.num_prefill_tokens for state in book.states) == 6000
    assert book_of(RouteRules(), make_worker("p0")).shard_images([1000], 0.0) == {}


def test_nothing_is_fetched_from_a_worker_that_the_request_has_lost() -> None:
    rules = RouteRules("mooncake", OrderPolicies(mooncake=MooncakePolicy()))
    book = book_of(rules, *(make_worker(name) for name in ("p0", "p1", "p2")), make_worker("d0", Role.DECODE))
    hashes = hash_blocks(range(1000))
    book.caches("p0", hashes, (), is_all=False)
    book.caches("p1", hashes[:50], (), is_all=False)
    ranking = book.answer(RouteQuery("r", 1000, 64, hashes, excluded_worker_ids=frozenset({"p0"})), 0.0)
    assert ranking is not None
    assert ranking.fetches == {"p2": PrefixFetch(800, make_worker("p1").ref)}


def test_a_route_names_an_encoder_for_each_image() -> None:
    encoders = [make_worker(f"e{n}", Role.ENCODER) for n in range(2)]  # they have measured nothing yet
    book = book_of(RouteRules(), *encoders, make_worker("p0"), make_worker("d0", Role.DECODE))
    ranking = book.answer(RouteQuery("r", 1000, 64, image_patches=[500, 500, 1000]), 0.0)
    assert ranking is not None
    named = [candidate.ref.worker_id for candidate in ranking.decision.encoders]
    assert named[0] == named[1] != named[2]
    assert answer(book, 1).encoders == ()


def test_without_encoders_a_route_names_none() -> None:
    book = book_of(RouteRules(), make_worker("p0"), make_worker("d0", Role.DECODE))
    ranking = book.answer(RouteQuery("r", 1000, 64, image_patches=[500]), 0.0)
    assert ranking is not None
    assert ranking.decision.encoders == ()
