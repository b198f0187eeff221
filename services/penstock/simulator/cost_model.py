"""What a simulated step takes: one protocol, four ways to know.

    fitted      coefficients of `core.step_cost.StepCost` for a (GPU, model, TP), measured or composed    fitted_costs
    roofline    from a model's shape and a GPU's peaks, for pairs nobody measured                         roofline
    profile     coefficients measured on a live worker, in a file of `penstock profile`             cost_profile
    operators   tables of measured operators in a folder the user names                                   operator_costs

None includes what an engine adds around the forward pass (scheduling, launch, sampling): a pool's `step_overhead_s`
does.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from penstock.core.errors import InvalidSettings
from penstock.core.step_cost import StepSeconds
from penstock.simulator.cost_profile import read_profile
from penstock.simulator.fitted_costs import find_fitted
from penstock.simulator.hardware import Gpu, ModelShape, find_gpu, find_model
from penstock.simulator.operator_costs import OperatorCosts, OperatorTables
from penstock.simulator.pipelined import Pipelined
from penstock.simulator.roofline import Roofline

CostModel: TypeAlias = StepSeconds
"""Seconds of one forward pass on one worker; `decode_s` is asked millions of times."""


@dataclass(frozen=True, slots=True)
class CostSpec:
    """Which cost model a pool has. `engine` tells fits of the same pair apart.

    `tables` is for `operators`, `file` for `profile`.
    """

    kind: str = "fitted"
    gpu: str = "H200"
    model: str = "Llama-3-8B"
    tp: int = 1
    pp: int = 1
    engine: str = ""
    tables: str = ""
    file: str = ""
    gpu_peaks: Gpu | None = field(default=None)  # instead of a GPU by name
    model_shape: ModelShape | None = field(default=None)  # instead of a model by name

    @property
    def num_gpus(self) -> int:
        """Of one worker."""
        return self.tp * self.pp

    @property
    def hardware(self) -> Gpu:
        return self.gpu_peaks or find_gpu(self.gpu)

    @property
    def shape(self) -> ModelShape:
        return self.model_shape or find_model(self.model)


def build_cost_model(spec: CostSpec) -> CostModel:
    """The cost model that `spec` describes; raises InvalidSettings when there is none."""
    if spec.tp < 1 or spec.pp < 1:
        raise InvalidSettings("cost", f"tp={spec.tp}, pp={spec.pp}", "both must be at least 1")
    stages = _of_one_stage(spec)
    return stages if spec.pp == 1 else Pipelined(stages, spec.pp)


def _of_one_stage(spec: CostSpec) -> CostModel:
    if spec.kind == "fitted":
        return find_fitted(spec.gpu, spec.model, spec.tp, spec.engine)
    if spec.kind == "profile":
        return read_profile(Path(spec.file)).cost
    if spec.kind == "roofline":
        return Roofline(spec.shape, spec.hardware, spec.tp)
    if spec.kind == "operators":
        if not spec.tables:
            raise InvalidSettings("cost.tables", "", "operators need the folder that holds the tables")
        return OperatorCosts(OperatorTables(Path(spec.tables), spec.gpu), spec.shape, spec.hardware, spec.tp)
    raise InvalidSettings("cost.kind", spec.kind, "must be fitted, roofline, profile or operators")
