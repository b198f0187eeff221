import pytest

from penstock.core.reported_cost import queue_s, reported_cost
from penstock.core.types import Role
from tests.unit.workers import make_worker


def test_the_fastest_worker_of_each_kind_sets_the_cost() -> None:
    cost = reported_cost(
        [
            make_worker("p0", prefill_base_s=0.01, prefill_s_per_token=2e-4),
            make_worker("p1", prefill_base_s=0.02, prefill_s_per_token=1e-4),
            make_worker("d0", Role.DECODE, num_running=64, max_num_sequences=128, token_interval_s=0.03),
            make_worker("d1", Role.DECODE, num_running=0, token_interval_s=0.001),  # idle: says nothing of now
        ]
    )
    assert cost.prefill_s(100) == pytest.approx(0.02 + 100 * 1e-4)
    assert cost.decode_s(128, 10_000) == pytest.approx(0.02 * 2)


def test_something_plausible_is_assumed_while_nobody_has_measured() -> None:
    cost = reported_cost([make_worker("p0")])
    assert cost.prefill_s(1000) == pytest.approx(0.105)
    assert 0.02 < cost.decode_s(1, 1000) < 0.021


def test_a_queue_is_as_long_as_its_worker_is_slow() -> None:
    cost = reported_cost([])
    assert queue_s(make_worker("a", num_prefill_tokens=1000, prefill_s_per_token=1e-3), cost) == pytest.approx(1.0)
    assert queue_s(make_worker("b", num_prefill_tokens=1000), cost) == pytest.approx(0.1)
