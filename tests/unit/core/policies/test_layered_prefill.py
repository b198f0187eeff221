"""Layer groups and cohorts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.layered_prefill import (
    Cohort,
    LayeringLimits,
    form_cohort,
    is_worth_layering,
    next_layers,
    num_layer_groups,
    split_layers,
)
from penstock.core.types import Request, SamplingParams, Sequence

LIMITS = LayeringLimits()


def prompt(num_tokens: int, num_computed: int = 0) -> Sequence:
    request = Request("r", 0, "g", 0, range(num_tokens), SamplingParams())
    return Sequence(request, list(range(num_tokens)), 0.0, num_computed_tokens=num_computed)


@pytest.mark.parametrize(
    ("num_tokens", "num_layers", "num_groups"),
    [(1, 48, 1), (512, 48, 1), (513, 48, 2), (2048, 48, 4), (2340, 48, 5), (8192, 48, 16), (8192, 8, 8), (0, 48, 1)],
)
def test_there_is_a_group_for_every_512_tokens(num_tokens: int, num_layers: int, num_groups: int) -> None:
    assert num_layer_groups(num_tokens, num_layers, LIMITS) == num_groups


@pytest.mark.parametrize(
    ("num_layers", "num_groups", "sizes"), [(48, 4, [12] * 4), (10, 4, [3, 3, 2, 2]), (3, 3, [1, 1, 1]), (5, 1, [5])]
)
def test_layers_are_split_evenly(num_layers: int, num_groups: int, sizes: list[int]) -> None:
    groups = split_layers(num_layers, num_groups)
    assert [len(group) for group in groups] == sizes
    assert [layer for group in groups for layer in group] == list(range(num_layers))


@pytest.mark.parametrize(
    ("case", "prompts", "num_places", "members", "num_groups"),
    [
        # members: (who, start, num_tokens)
        ("nothing", [], 8, None, 0),
        ("no place", [prompt(10)], 0, None, 0),
        ("those that wait together", [prompt(1000), prompt(500)], 8, [(0, 0, 1000), (1, 0, 500)], 3),
        ("places", [prompt(1000), prompt(500)], 1, [(0, 0, 1000)], 2),
        ("cached tokens are no work", [prompt(1000, 600)], 8, [(0, 600, 400)], 1),
        ("cut at 8192 tokens", [prompt(9000), prompt(5)], 8, [(0, 0, 8192)], 16),
        ("the rest later", [prompt(9000, 8192), prompt(5)], 8, [(0, 8192, 808), (1, 0, 5)], 2),
    ],
)
def test_cohorts(
    case: str,
    prompts: list[Sequence],
    num_places: int,
    members: list[tuple[int, int, int]] | None,
    num_groups: int,
) -> None:
    cohort = form_cohort(prompts, num_places, 48, LIMITS)
    if members is None:
        assert cohort is None, case
        return
    assert cohort is not None
    assert [(prompts.index(i.sequence), i.start, i.num_tokens) for i in cohort.items] == members, case
    assert len(cohort.groups) == num_groups
    assert cohort.num_tokens == sum(num_tokens for _, _, num_tokens in members)


def test_an_undivided_cohort_passes_all_layers_at_once() -> None:
    cohort = form_cohort([prompt(5000)], 8, 48, LIMITS, is_layered=False)
    assert cohort is not None
    layers, after = next_layers(cohort)
    assert layers == range(48)
    assert after.is_done


@pytest.mark.parametrize(
    ("slack_s", "group_s", "layers"),
    [
        (0.0, 0.01, range(12)),  # one at least
        (0.019, 0.01, range(12)),
        (0.021, 0.01, range(24)),
        (9.0, 0.01, range(48)),
        (0.0, float("inf"), range(12)),
    ],
)
def test_as_many_groups_run_as_fit_into_the_slack(slack_s: float, group_s: float, layers: range) -> None:
    assert next_layers(Cohort((), split_layers(48, 4)), slack_s, group_s)[0] == layers


@given(st.integers(1, 96), st.integers(1, 16), st.lists(st.floats(0.0, 5.0), max_size=20))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_layer_is_passed_once_and_in_order(num_layers: int, num_groups: int, slacks_s: list[float]) -> None:
    cohort = Cohort((), split_layers(num_layers, min(num_groups, num_layers)))
    passed: list[int] = []
    slack = iter(slacks_s)
    while not cohort.is_done:
        layers, cohort = next_layers(cohort, next(slack, 0.0), 1.0)
        passed += layers
    assert passed == list(range(num_layers))


@pytest.mark.parametrize(
    ("num_experts", "num_decodes", "num_tokens", "is_worth"),
    [(128, 32, 4096, True), (1, 32, 4096, False), (128, 0, 4096, False), (128, 32, 512, False)],
)
def test_layering_needs_experts_decodes_and_a_long_prompt(
    num_experts: int, num_decodes: int, num_tokens: int, is_worth: bool
) -> None:
    assert is_worth_layering(num_experts, num_decodes, num_tokens, LIMITS) is is_worth
