"""Who may ride along with the most urgent prompt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.prefill_batch import choose_batch
from penstock.core.step_cost import StepCost
from penstock.core.types import Request, SamplingParams, Sequence
from penstock.core.urgency import batch_s

COST = StepCost(0.1, 0.001, 0.0, 0.0, 0.0, 1.0)  # 100 ms and 1 ms per token
NOW_S = 100.0
FOREVER = float("inf")
MAX_SEQUENCES = 3


def prompt(num_tokens: int, due_in_s: float = FOREVER) -> Sequence:
    deadline_s = NOW_S + due_in_s
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams(), first_token_deadline_s=deadline_s)
    return Sequence(request, list(range(num_tokens)), 0.0)


@pytest.mark.parametrize(
    ("case", "ordered", "members"),
    [
        ("nothing", [], []),
        ("0.1 + 0.2 + 0.6 = 0.9 s", [prompt(200, 0.9), prompt(600)], [0, 1]),
        ("0.1 + 0.2 + 0.7 = 1.0 s", [prompt(200, 0.9), prompt(700)], [0]),
        ("a shorter one still fits", [prompt(200, 0.9), prompt(700), prompt(500)], [0, 2]),
        ("whoever joined sets a limit too", [prompt(200), prompt(200, 0.6), prompt(200)], [0, 1]),
        ("the doomed set none", [prompt(200, 0.1), prompt(200, 9.0), prompt(200)], [0, 1, 2]),
        ("places", [prompt(1)] * 5, [0, 1, 2]),
    ],
)
def test_batches(case: str, ordered: list[Sequence], members: list[int]) -> None:
    ordered = [prompt(s.num_tokens, s.request.first_token_deadline_s - NOW_S) for s in ordered]  # each its own
    assert [ordered.index(member) for member in choose_batch(ordered, COST, NOW_S, MAX_SEQUENCES)] == members, case


@given(st.lists(st.tuples(st.integers(1, 3000), st.floats(0.0, 5.0)), min_size=1, max_size=10))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_nobody_who_would_be_in_time_alone_is_made_late(prompts: list[tuple[int, float]]) -> None:
    ordered = [prompt(num_tokens, due_in_s) for num_tokens, due_in_s in prompts]
    batch = choose_batch(ordered, COST, NOW_S, MAX_SEQUENCES)
    assert batch[0] is ordered[0]
    head_due_s = ordered[0].request.first_token_deadline_s - NOW_S
    if batch_s([ordered[0]], COST) <= head_due_s:
        assert batch_s(batch, COST) <= head_due_s + 1e-9
    assert len(batch) <= MAX_SEQUENCES
