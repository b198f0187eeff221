"""The simple rankings, as tables."""

from dataclasses import replace

import pytest

from penstock.core.policies.routing_baselines import (
    AffinityPolicy,
    least_load,
    prefix_affinity,
    random,
    rejection_order,
    round_robin,
)
from penstock.core.types import Candidate, Role, WorkerRef, WorkerState


def worker(name: str, **changes: object) -> WorkerState:
    return replace(WorkerState(WorkerRef(name, 1, f"{name}:1"), Role.PREFILL), **changes)  # type: ignore[arg-type]


def names(candidates: tuple[Candidate, ...]) -> str:
    return "".join(candidate.ref.worker_id for candidate in candidates)


IDLE = [worker("b"), worker("a"), worker("c")]


@pytest.mark.parametrize(("turn", "ranked"), [(0, "abc"), (1, "bca"), (2, "cab"), (3, "abc"), (100, "bca")])
def test_round_robin_goes_round(turn: int, ranked: str) -> None:
    assert names(round_robin(IDLE, turn)) == ranked


@pytest.mark.parametrize(
    ("workers", "ranked"),
    [
        (IDLE, "abc"),
        ([worker("a", num_running=3), worker("b", num_running=1, num_waiting=1), worker("c", num_waiting=1)], "cba"),
        ([worker("a", num_context_tokens=500), worker("b", num_prefill_tokens=400)], "ba"),
    ],
)
def test_the_least_loaded_has_fewest_sequences_then_fewest_tokens(workers: list[WorkerState], ranked: str) -> None:
    assert names(least_load(workers)) == ranked


@pytest.mark.parametrize(
    ("case", "loads", "cached", "ranked"),
    [
        ("longest prefix", (5, 0, 9), {"a": 600, "c": 800}, "cab"),
        ("too short a prefix to follow", (5, 0, 9), {"a": 299}, "bac"),
        ("out of balance: 65 apart and over 1.5 times", (65, 0, 0), {"a": 900}, "bca"),
        ("64 apart is still balanced", (64, 0, 0), {"a": 900}, "abc"),
        ("65 apart, but not in proportion", (465, 400, 400), {"a": 900}, "abc"),
        ("equal prefixes: the less loaded", (5, 3, 0), {"a": 900, "b": 900}, "bac"),
    ],
)
def test_affinity_follows_the_prefix_while_loads_are_balanced(
    case: str, loads: tuple[int, int, int], cached: dict[str, int], ranked: str
) -> None:
    workers = [worker(name, num_running=load) for name, load in zip("abc", loads, strict=True)]
    candidates = prefix_affinity(1000, workers, cached, AffinityPolicy())
    assert names(candidates) == ranked, case
    assert all(candidate.num_cached_tokens == cached.get(candidate.ref.worker_id, 0) for candidate in candidates)


@pytest.mark.parametrize(
    ("cached", "refused_s", "ranked"),
    [
        ({}, {}, "abc"),
        ({}, {"a": 5.0, "b": 3.0}, "cba"),
        ({"a": 64}, {"a": 5.0, "b": 3.0}, "acb"),
    ],
)
def test_offers_go_to_the_prefix_and_then_to_who_refused_longest_ago(
    cached: dict[str, int], refused_s: dict[str, float], ranked: str
) -> None:
    assert names(rejection_order(IDLE, cached, refused_s)) == ranked


def test_an_empty_pool_has_no_candidates() -> None:
    assert round_robin([], 3) == least_load([]) == rejection_order([], {}, {}) == ()
    assert prefix_affinity(9, [], {}, AffinityPolicy()) == ()


def test_only_the_best_few_are_returned() -> None:
    assert names(round_robin(IDLE, 2, num_candidates=2)) == "ca"
    assert names(least_load(IDLE, num_candidates=2)) == "ab"
    assert names(prefix_affinity(10, IDLE, {"c": 9}, AffinityPolicy(), num_candidates=2)) == "ca"
    assert names(rejection_order(IDLE, {}, {"a": 1.0}, num_candidates=2)) == "bc"


def test_random_gives_every_worker_its_share_and_each_request_one_order() -> None:
    firsts = [names(random(str(number), IDLE))[0] for number in range(3000)]
    assert all(900 < firsts.count(name) < 1100 for name in "abc")
    assert random("7", IDLE) == random("7", IDLE[::-1])
