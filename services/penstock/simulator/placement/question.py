"""What is asked of the planner."""

from dataclasses import dataclass, field
from functools import cached_property

from penstock.core.errors import InvalidSettings
from penstock.core.timeline import Slo
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.placement.layout import Layout, scenario_of
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.scenario import Scenario
from penstock.simulator.transfers import TransferCosts

_NUM_LIVES = 3  # so many times a request's own life is simulated: what the empty start hides is a part of it


@dataclass(frozen=True)
class Question:
    """How should `num_gpus` GPUs serve this traffic so that a share of `goal` meets both objectives?"""

    cost: CostSpec  # GPU and model; its parallelism is ignored
    num_gpus: int
    traffic: Traffic
    slo: Slo
    goal: float = 0.9
    step_overhead_s: float = 0.002  # a Python engine's own time around each forward pass
    transfer: TransferCosts = field(default_factory=TransferCosts)

    def __post_init__(self) -> None:
        if self.num_gpus < 1:
            raise InvalidSettings("--gpus", self.num_gpus, "must be at least 1")
        if not 0 < self.goal < 1:
            raise InvalidSettings("--goal", self.goal, "must lie between 0 and 1")
        if not 0 < self.slo.tpot_s < float("inf") or not 0 < self.slo.ttft_s < float("inf"):
            raise InvalidSettings("--ttft, --tpot", f"{self.slo.ttft_s}, {self.slo.tpot_s}", "must be above 0")

    def scenario(self, layout: Layout) -> Scenario:
        """The layout as a cluster under this question's objectives."""
        return scenario_of(layout, self.slo, self.transfer, self.step_overhead_s)

    @cached_property
    def horizon_s(self) -> float:
        """How long a simulation must last to be steady."""
        return _NUM_LIVES * (self.slo.ttft_s + self.traffic.mean.num_output_tokens * self.slo.tpot_s)
