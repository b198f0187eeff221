"""What is worth a simulation, and the most it could serve."""

from dataclasses import replace

import pytest

from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cost_model import CostSpec, build_cost_model
from penstock.simulator.hardware import MODELS
from penstock.simulator.placement.candidates import candidates, splits
from penstock.simulator.placement.layout import Layout, Parallelism, PoolChoice
from penstock.simulator.placement.parallel_costs import ParallelCosts, parallelisms
from penstock.simulator.placement.worker_rates import WorkerRates
from tests.unit.simulator.placement.questions import question

SPEC = CostSpec(gpu="H200", model="Llama-3-8B")


def test_parallelisms_divide_heads_and_layers_and_stay_within_a_node() -> None:
    found = parallelisms(MODELS["OPT-13B"], 16)  # 40 heads, 40 layers
    assert Parallelism(8, 1) in found
    assert Parallelism(4, 2) in found
    assert all(each.num_gpus <= 8 for each in found)
    assert Parallelism(8, 1) not in parallelisms(MODELS["Qwen2.5-7B"], 16)  # 28 heads


def test_a_parallelism_without_a_fit_has_a_roofline_that_meets_the_nearest_fit() -> None:
    costs = ParallelCosts(SPEC)
    assert costs.at(Parallelism(1)).kind == "fitted"
    spec = costs.at(Parallelism(2))
    assert spec.kind == "roofline"
    fit, aligned = build_cost_model(SPEC), build_cost_model(replace(spec, tp=1))
    assert aligned.step_s([(0, 2048)]) == pytest.approx(fit.step_s([(0, 2048)]), rel=0.05)
    assert aligned.decode_s(32, 32 * 1024) == pytest.approx(fit.decode_s(32, 32 * 1024), rel=0.05)


def test_a_model_that_nobody_measured_has_a_plain_roofline() -> None:
    spec = ParallelCosts(CostSpec(gpu="H100", model="Yi-34B")).at(Parallelism(2))
    assert (spec.kind, spec.gpu_peaks) == ("roofline", None)


@pytest.mark.parametrize(
    ("slo", "name"),
    [
        (Slo(0.001, 0.02), "num_too_slow_to_prefill"),
        (Slo(0.4, 0.0001), "num_too_slow_to_decode"),
    ],
)
def test_what_a_request_alone_would_miss_is_never_simulated(slo: Slo, name: str) -> None:
    field = candidates(question(slo=slo))
    assert not field.colocated
    assert not field.disaggregated
    assert getattr(field.pruned, name) > 0


def test_what_does_not_fit_in_memory_is_never_simulated() -> None:
    asked = question(num_gpus=2)
    field = candidates(replace(asked, cost=CostSpec(kind="roofline", gpu="A100", model="OPT-66B")))
    assert field.pruned.num_without_memory == 1  # of TP 1, TP 2 and PP 2: 132 GB of weights
    assert all(pool.parallelism.num_gpus == 2 for found in field.colocated for pool in found.layout.pools)


def test_no_layout_uses_more_gpus_than_there_are_and_guesses_descend() -> None:
    field = candidates(question(num_gpus=6))
    for family in (field.colocated, field.disaggregated):
        assert family
        assert all(candidate.layout.num_gpus <= 6 for candidate in family)
        assert all(candidate.guess <= candidate.bound for candidate in family)
        guesses = [candidate.guess for candidate in family]
        assert guesses == sorted(guesses, reverse=True)


def rates(prefill_rate: float = 0.0, decode_rate: float = 0.0) -> WorkerRates:
    return WorkerRates(SPEC, 10**6, prefill_rate, decode_rate, 100, 1.0, 1.0, spare_ttft_s=1e9)


def test_workers_are_split_by_rate_balance() -> None:
    pools = tuple(PoolChoice(role, 1, Parallelism(), SPEC, 2048, 64, 10**6) for role in (Role.PREFILL, Role.DECODE))
    best = splits(Layout(pools), 6, rates(prefill_rate=1.0), rates(decode_rate=2.0))
    assert str(best[0].layout) == "4 prefill TP1 + 2 decode TP1"
    assert best[0].bound == 4.0
    assert str(best[0].layout.unit()) == "2 prefill TP1 + 1 decode TP1"
    assert best[0].layout.num_copies == 2
