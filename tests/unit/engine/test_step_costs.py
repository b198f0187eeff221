"""What a worker learns of its own speed."""

import pytest

from penstock.engine.step_costs import StepCosts


def test_nothing_is_known_at_first() -> None:
    costs = StepCosts()
    assert (costs.prefill_base_s, costs.prefill_s_per_token, costs.token_interval_s) == (0.0, 0.0, 0.0)


def test_finds_base_and_slope() -> None:
    costs = StepCosts()
    for num_tokens in (100, 500, 1000, 2000, 300):
        costs.add_prefill(num_tokens, 0.005 + 0.0001 * num_tokens)
    assert costs.prefill_base_s == pytest.approx(0.005)
    assert costs.prefill_s_per_token == pytest.approx(0.0001)


def test_equal_prompts_leave_no_base_to_tell_apart() -> None:
    costs = StepCosts()
    for _ in range(50):
        costs.add_prefill(200, 0.02)
    assert costs.prefill_base_s == pytest.approx(0.0)
    assert costs.prefill_s_per_token == pytest.approx(0.0001)


def test_never_claims_that_more_tokens_take_less_time() -> None:
    costs = StepCosts()
    costs.add_prefill(100, 0.05)
    costs.add_prefill(1000, 0.01)
    assert costs.prefill_s_per_token == 0.0
    assert costs.prefill_base_s > 0.0


def test_forgets_how_it_used_to_be() -> None:
    costs = StepCosts(memory_steps=10.0)
    for step in range(200):
        per_token = 0.001 if step < 100 else 0.0001
        num_tokens = 100 + 10 * (step % 5)
        costs.add_prefill(num_tokens, per_token * num_tokens)
    assert costs.prefill_s_per_token == pytest.approx(0.0001, rel=0.01)


def test_a_decode_interval_is_believed_at_once_and_then_smoothed() -> None:
    costs = StepCosts()
    costs.add_decode(0.01)
    assert costs.token_interval_s == pytest.approx(0.01)
    costs.add_decode(0.02)
    assert costs.token_interval_s == pytest.approx(0.011)
    for _ in range(200):
        costs.add_decode(0.02)
    assert costs.token_interval_s == pytest.approx(0.02)
