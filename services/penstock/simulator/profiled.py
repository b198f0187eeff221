"""A scenario with the costs of a live system in place of its own."""

from dataclasses import replace
from pathlib import Path

from penstock.simulator.cost_model import CostSpec
from penstock.simulator.cost_profile import read_profile
from penstock.simulator.scenario import Scenario


def profiled_cost(file: Path, gpu: str = "H200") -> CostSpec:
    """One worker as it was profiled, with the memory of `gpu`; without a shape in the profile KV is the default's."""
    profile = read_profile(file)
    shape = profile.shape or CostSpec().shape
    return CostSpec(kind="profile", gpu=gpu, model=profile.name, model_shape=shape, file=str(file))


def profiled(scenario: Scenario, file: Path) -> Scenario:
    """The engine's own time around a step is in the profile's coefficients; what messages cost is in it as well."""
    cost = profiled_cost(file)
    pools = tuple(replace(pool, cost=cost, step_overhead_s=0.0) for pool in scenario.pools)
    return replace(scenario, pools=pools, rpc_s=read_profile(file).message_s)
