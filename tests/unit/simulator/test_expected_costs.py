"""What policies expect of a cost model."""

import pytest

from penstock.core.step_cost import StepCost
from penstock.simulator.cost_model import CostSpec, build_cost_model
from penstock.simulator.expected_costs import expected_costs


def test_the_fitted_form_is_found_again_as_it_was() -> None:
    cost = StepCost(0.004, 2e-5, 7e-10, 0.006, 4e-8, 1e-5)
    found = expected_costs(cost, overhead_s=0.002)
    assert found.prefill_base_s == pytest.approx(0.006)
    assert found.decode_base_s == pytest.approx(0.008)
    assert found.prefill_s(5000, 1000) == pytest.approx(cost.prefill_s(5000, 1000) + 0.002)
    assert found.decode_s(100, 300_000) == pytest.approx(cost.decode_s(100, 300_000) + 0.002)


@pytest.mark.parametrize(("gpu", "model", "tp"), [("A100", "Mistral-7B", 1), ("A100", "Yi-34B", 2)])
def test_a_roofline_is_met_within_a_tenth_where_steps_are_bounded(gpu: str, model: str, tp: int) -> None:
    cost = build_cost_model(CostSpec("roofline", gpu, model, tp))
    found = expected_costs(cost)
    for num_tokens in (1024, 2048, 4096):
        assert found.prefill_s(num_tokens) == pytest.approx(cost.step_s([(0, num_tokens)]), rel=0.1)
    for num_decodes in (8, 32, 128):
        expected = cost.decode_s(num_decodes, 2000 * num_decodes)
        assert found.decode_s(num_decodes, 2000 * num_decodes) == pytest.approx(expected, rel=0.1)
