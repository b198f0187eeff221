"""What a worker learns of its own speed."""

import pytest

from penstock.core.measured_costs import MeasuredCosts


def test_nothing_is_known_at_first() -> None:
    costs = MeasuredCosts()
    assert (costs.prefill_base_s, costs.prefill_s_per_token, costs.token_interval_s) == (0.0, 0.0, 0.0)


def test_finds_base_and_slope() -> None:
    costs = MeasuredCosts()
    for num_tokens in (100, 500, 1000, 2000, 300):
        costs.add_prefill(num_tokens, 0.005 + 0.0001 * num_tokens)
    assert costs.prefill_base_s == pytest.approx(0.005)
    assert costs.prefill_s_per_token == pytest.approx(0.0001)


def test_equal_prompts_leave_no_base_to_tell_apart() -> None:
    costs = MeasuredCosts()
    for _ in range(50):
        costs.add_prefill(200, 0.02)
    assert costs.prefill_base_s == pytest.approx(0.0)
    assert costs.prefill_s_per_token == pytest.approx(0.0001)


def test_never_claims_that_more_tokens_take_less_time() -> None:
    costs = MeasuredCosts()
    costs.add_prefill(100, 0.05)
    costs.add_prefill(1000, 0.01)
    assert costs.prefill_s_per_token == 0.0
    assert costs.prefill_base_s > 0.0


def test_forgets_how_it_used_to_be() -> None:
    costs = MeasuredCosts(memory_steps=10.0)
    for step in range(200):
        per_token = 0.001 if step < 100 else 0.0001
        num_tokens = 100 + 10 * (step % 5)
        costs.add_prefill(num_tokens, per_token * num_tokens)
    assert costs.prefill_s_per_token == pytest.approx(0.0001, rel=0.01)


def test_a_decode_interval_is_believed_at_once_and_then_smoothed() -> None:
    costs = MeasuredCosts()
    costs.add_decode(0.01)
    assert costs.token_interval_s == pytest.approx(0.01)
    costs.add_decode(0.02)
    assert costs.token_interval_s == pytest.approx(0.011)
    for _ in range(200):
        costs.add_decode(0.02)
    assert costs.token_interval_s == pytest.approx(0.02)


def test_the_next_steps_are_expected_to_cost_what_the_last_ones_did() -> None:
    costs = MeasuredCosts()
    assert costs.step_cost().step_s([(0, 500)], 8, 1000) == 0.0  # nothing has been learnt
    for size in (1, 8, 16, 8):
        costs.add_prefill(100 * size, 0.004 + 2e-5 * 100 * size)
        costs.add_decode_step(size, 0.006 + 1e-4 * size)
    expected = costs.step_cost()
    assert expected.prefill_s(700) == pytest.approx(0.018)
    assert expected.decode_s(12, 5000) == pytest.approx(0.0072)
