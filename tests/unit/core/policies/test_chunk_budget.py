"""The token budget that decode slack allows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.chunk_budget import BudgetLimits, DecodeLoad, next_token_slack_s, token_budget
from penstock.core.step_cost import StepCost

COST = StepCost(0.010, 1e-4, 0.0, 0.020, 1e-6, 1e-4)  # linear: 10 ms and 0.1 ms per token
LIMITS = BudgetLimits()


@pytest.mark.parametrize(
    ("case", "load", "budget"),
    [
        ("nobody to spare", DecodeLoad(0, 0, 0.0), 2048),
        ("0.010 + 512 * 1e-4 = 0.0612", DecodeLoad(8, 0, 0.0612001), 512),
        ("a little less slack is a tile less", DecodeLoad(8, 0, 0.0611), 384),
        ("context is read besides: 0.001 s of 1000 tokens", DecodeLoad(8, 1000, 0.0612001), 384),
        ("ample slack", DecodeLoad(8, 0, 10.0), 2048),
        ("late already: prompts crawl on", DecodeLoad(8, 0, -1.0), 136),
        ("decodes beyond the budget all run", DecodeLoad(3000, 0, 10.0), 3128),
    ],
)
def test_budget_is_the_most_that_ends_within_slack(case: str, load: DecodeLoad, budget: int) -> None:
    assert token_budget(load, COST, LIMITS) == budget, case


def test_later_chunks_of_a_prompt_are_shorter() -> None:
    cost = StepCost(0.010, 1e-4, 1e-7, 0.020, 0.0, 1e-4)
    load = DecodeLoad(8, 0, 0.2)
    # by hand: 0.01 + 1e-4 t + 1e-7 c (2 m + c) <= 0.2 with c = t - 8
    assert token_budget(load, cost, LIMITS, num_computed_tokens=0) == 896
    assert token_budget(load, cost, LIMITS, num_computed_tokens=4096) == 128 + 8  # 128 do not fit, but crawl on


@given(st.integers(1, 300), st.integers(0, 500_000), st.floats(-0.1, 1.0), st.integers(0, 30_000))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_budget_above_the_least_is_in_time_and_one_tile_more_is_not(
    num_decodes: int, num_context: int, slack_s: float, num_computed: int
) -> None:
    cost = StepCost(0.010, 1e-4, 1e-9, 0.020, 1e-7, 1e-4)
    budget = token_budget(DecodeLoad(num_decodes, num_context, slack_s), cost, LIMITS, num_computed)

    def seconds(num_tokens: int) -> float:
        return cost.step_s([(num_computed, num_tokens - num_decodes)], num_decodes, num_context)

    least = num_decodes + LIMITS.min_tokens
    assert least <= budget <= max(least, LIMITS.max_tokens)
    if budget > least:
        assert budget % LIMITS.tile_tokens == 0
        assert seconds(budget) <= slack_s
    whole_tiles = budget // LIMITS.tile_tokens * LIMITS.tile_tokens
    if LIMITS.tile_tokens <= whole_tiles < LIMITS.max_tokens and budget == whole_tiles:
        assert seconds(budget + LIMITS.tile_tokens) > slack_s


@pytest.mark.parametrize(
    ("num_output_tokens", "now_s", "slack_s"),
    [(1, 10.0, 0.1), (1, 10.1, 0.0), (5, 10.1, 0.4), (5, 10.7, -0.2)],  # the first token came at 10 s, one per 0.1 s
)
def test_a_stream_ahead_of_its_objective_has_slack(num_output_tokens: int, now_s: float, slack_s: float) -> None:
    assert next_token_slack_s(10.0, num_output_tokens, 0.1, now_s) == pytest.approx(slack_s)
