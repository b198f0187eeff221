"""Coefficients from samples, and the file that holds them."""

from dataclasses import replace
from pathlib import Path

import pytest

from penstock.core.errors import InvalidSettings
from penstock.core.step_cost import StepCost
from penstock.core.types import Role
from penstock.simulator.cost_model import build_cost_model
from penstock.simulator.cost_profile import CostProfile, DecodeSample, PrefillSample, fit, read_profile
from penstock.simulator.hardware import MODELS
from penstock.simulator.profiled import profiled
from penstock.simulator.scenario import PoolSpec, Scenario

TRUTH = StepCost(0.002, 1e-5, 2e-9, 0.005, 3e-7, 2e-4)
LENGTHS = (16, 64, 256, 1024, 4096)
BATCHES = ((1, 100), (1, 4000), (4, 800), (8, 2000), (8, 16_000))


def samples(noise: float = 0.0) -> tuple[list[PrefillSample], list[DecodeSample]]:
    """Of the truth, every second one too slow and the others too fast by `noise`."""
    signs = [1 + noise * (-1) ** index for index in range(len(LENGTHS))]
    prefills = [PrefillSample(n, TRUTH.prefill_s(n) * sign) for n, sign in zip(LENGTHS, signs, strict=True)]
    decodes = [DecodeSample(b, c, TRUTH.decode_s(b, c) * sign) for (b, c), sign in zip(BATCHES, signs, strict=True)]
    return prefills, decodes


def test_exact_samples_give_back_their_coefficients() -> None:
    cost, errors = fit(*samples())
    for name in TRUTH.__slots__:
        assert getattr(cost, name) == pytest.approx(getattr(TRUTH, name), rel=1e-6)
    assert max(errors.prefill_max, errors.decode_max) < 1e-9


def test_a_sample_that_was_slowed_down_does_not_bend_the_fit() -> None:
    prefills, decodes = samples()
    slowed = [*prefills * 3, PrefillSample(1024, 10 * TRUTH.prefill_s(1024))]
    cost, errors = fit(slowed, decodes)
    assert cost.prefill_s(1024) == pytest.approx(TRUTH.prefill_s(1024), rel=0.02)
    assert errors.prefill_max > 0.5


def test_noise_shows_in_the_errors() -> None:
    cost, errors = fit(*samples(noise=0.1))
    assert cost.prefill_s(1024) == pytest.approx(TRUTH.prefill_s(1024), rel=0.15)
    assert 0.01 < errors.prefill_mean <= errors.prefill_max <= 0.2


def test_no_coefficient_is_negative() -> None:
    falling = [PrefillSample(n, 0.01 - 1e-6 * n) for n in LENGTHS]
    cost, _ = fit(falling, samples()[1])
    assert min(cost.prefill_base_s, cost.prefill_s_per_token, cost.prefill_s_per_token2) >= 0


def test_too_few_points_cannot_be_fitted() -> None:
    prefills, decodes = samples()
    with pytest.raises(ValueError, match="three"):
        fit(prefills[:2], decodes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    cost, errors = fit(*samples())
    path = tmp_path / "costs.json"
    CostProfile("tiny", cost, 0.001, errors, 10, MODELS["Mistral-7B"]).write(path)
    return path


def test_a_profile_is_read_as_it_was_written(file: Path) -> None:
    profile = read_profile(file)
    assert (profile.name, profile.message_s, profile.shape) == ("tiny", 0.001, MODELS["Mistral-7B"])


def test_a_scenario_takes_its_costs_and_messages_from_a_profile(file: Path) -> None:
    scenario = profiled(Scenario(pools=(PoolSpec(Role.PREFILL), PoolSpec(Role.DECODE))), file)
    assert scenario.rpc_s == 0.001
    for pool in scenario.pools:
        assert pool.step_overhead_s == 0.0
        assert pool.plan().cost.decode_s(8, 2000) == pytest.approx(TRUTH.decode_s(8, 2000))


def test_a_file_that_is_no_profile_is_named(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    for path in (other, tmp_path / "missing.json"):
        with pytest.raises(InvalidSettings):
            read_profile(path)
    spec = profiled(Scenario(), file).pools[0].cost
    with pytest.raises(InvalidSettings):
        build_cost_model(replace(spec, file=str(other)))
