"""Mooncake's predicted TTFT, by hand."""

from dataclasses import replace

import pytest

from penstock.core.policies.routing_mooncake import MooncakePolicy, is_served, rank
from penstock.core.prefixes import Prefixes
from penstock.core.step_cost import StepCost
from penstock.core.types import Role, WorkerRef, WorkerState

COST = StepCost(0.0, 0.001, 0.0, 0.0, 0.0, 1.0)  # 1 ms per token
POLICY = MooncakePolicy(fetch_base_s=0.1, fetch_s_per_token=1e-4, balancing_threshold=2.0)
WORKERS = [WorkerState(WorkerRef(name, 1, f"{name}:1"), Role.PREFILL) for name in "abc"]


@pytest.mark.parametrize(
    ("case", "cached", "queued_s", "policy", "ranked"),
    [
        # ranked: (worker, TTFT of 1000 tokens, cached, fetched)
        (
            "by queue alone",
            {},
            {"a": 0.5, "c": 0.2},
            POLICY,
            [("b", 1.0, 0, 0), ("c", 1.2, 0, 0), ("a", 1.5, 0, 0)],
        ),
        (
            "the others fetch what a holds: 0.1 + 0.08 + 0.2",
            {"a": 800},
            {},
            POLICY,
            [("a", 0.2, 800, 0), ("b", 0.38, 800, 800), ("c", 0.38, 800, 800)],
        ),
        (
            "so a queue of 0.3 s sends it to b",
            {"a": 800},
            {"a": 0.3, "c": 1.0},
            POLICY,
            [("b", 0.38, 800, 800), ("a", 0.5, 800, 0), ("c", 1.38, 800, 800)],
        ),
        (
            "half as long a prefix is kept, less is not",
            {"a": 800, "b": 400, "c": 399},
            {},
            POLICY,
            [("a", 0.2, 800, 0), ("c", 0.1 + 0.0401 + 0.2, 800, 401), ("b", 0.6, 400, 0)],
        ),
        (
            "local caches only",
            {"a": 800},
            {"a": 0.9},
            replace(POLICY, can_fetch=False),
            [("b", 1.0, 0, 0), ("c", 1.0, 0, 0), ("a", 1.1, 800, 0)],
        ),
        (
            "one token is always run",
            {"a": 1000},
            {},
            POLICY,
            [("a", 0.001, 999, 0), ("b", 0.1 + 0.0999 + 0.001, 999, 999), ("c", 0.2009, 999, 999)],
        ),
    ],
)
def test_ranks(
    case: str,
    cached: dict[str, int],
    queued_s: dict[str, float],
    policy: MooncakePolicy,
    ranked: list[tuple[str, float, int, int]],
) -> None:
    best = max(cached, key=lambda name: cached[name], default="a")
    source = WORKERS["abc".index(best)].ref
    choices = rank(1000, WORKERS, Prefixes(cached, cached.get(best, 0), source), queued_s, COST, policy)
    found = [(c.worker.ref.worker_id, c.num_cached_tokens, c.num_fetched_tokens) for c in choices]
    assert found == [(name, *rest) for name, _, *rest in ranked], case
    assert [c.ttft_s for c in choices] == pytest.approx([ttft_s for _, ttft_s, *_ in ranked])


def test_no_worker_no_choice() -> None:
    assert rank(1000, [], Prefixes(), {}, COST, POLICY) == ()


@pytest.mark.parametrize(
    ("ttft_s", "interval_s", "served"), [(30.0, 0.1, True), (30.1, 0.1, False), (1.0, 0.11, False)]
)
def test_both_objectives_must_be_predicted_to_hold(ttft_s: float, interval_s: float, served: bool) -> None:
    assert is_served(ttft_s, 30.0, interval_s, 0.1) is served
