"""What `penstock plan` is told, as the planner takes it: a model, a workload."""

import json
import re
from pathlib import Path

from penstock.cli.experiment import read_file
from penstock.core.errors import InvalidSettings
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.fitted_costs import find_fitted
from penstock.simulator.hardware import MODELS, ModelShape
from penstock.simulator.model_config import shape_of
from penstock.simulator.parsing import parse
from penstock.simulator.placement.traffic import Traffic
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.traces import TraceSpec
from penstock_loadgen.workload import WorkloadSpec, generate

_NUM_REQUESTS = 2000  # drawn, where the workload does not say
_LENGTHS = re.compile(r"(\d+):(\d+)")
_TRACE_COLUMNS = {"TIMESTAMP": "azure", "StartTimeOffset_ns": "apex"}


def cost_spec(model: str, gpu: str, engine: str = "") -> CostSpec:
    """The model by name, or as a Hugging Face folder or config.json. Measured costs where there are any."""
    path = Path(model)
    if model in MODELS:
        spec = CostSpec(gpu=gpu, model=model, engine=engine)
        kind = "fitted" if _has_any_fit(spec) else "roofline"
        return CostSpec(kind=kind, gpu=gpu, model=model, engine=engine)
    if not path.exists():
        raise InvalidSettings("--model", model, f"is neither a model folder nor one of {', '.join(MODELS)}")
    return CostSpec(kind="roofline", gpu=gpu, model=path.resolve().name, model_shape=model_shape(model))


def model_shape(folder: str) -> ModelShape:
    """Of a Hugging Face folder, or of a config.json."""
    path = Path(folder)
    file = path / "config.json" if path.is_dir() else path
    try:
        return shape_of(json.loads(file.read_text(encoding="utf8")))
    except OSError as error:
        raise InvalidSettings("model", str(file), error.strerror or "cannot be read") from error
    except ValueError as error:
        raise InvalidSettings("model", str(file), f"is no JSON: {error}") from error


def _has_any_fit(spec: CostSpec) -> bool:
    for tp in (1, 2, 4, 8):
        try:
            find_fitted(spec.gpu, spec.model, tp, spec.engine)
        except InvalidSettings:
            continue
        return True
    return False


def traffic_of(workload: str) -> Traffic:
    """`IN:OUT` tokens, a workload or scenario (YAML), a trace (Mooncake, Azure, APEX), or a table of lengths (CSV)."""
    return Traffic(tuple(generate(_workload_spec(workload))))


def _workload_spec(workload: str) -> WorkloadSpec:
    if matched := _LENGTHS.fullmatch(workload):
        lengths = LengthSpec("fixed", int(matched[1]), int(matched[2]))
        return WorkloadSpec(_NUM_REQUESTS, lengths=lengths)
    path = Path(workload)
    if not path.is_file():
        raise InvalidSettings("--workload", workload, "is neither IN:OUT, in tokens, nor a file")
    if path.suffix in (".yaml", ".yml"):
        raw = read_file(path)
        return parse(WorkloadSpec, raw.get("workload", raw), "workload")
    if path.suffix == ".jsonl":
        return WorkloadSpec(_NUM_REQUESTS, trace=TraceSpec("mooncake", workload))
    with path.open(encoding="utf8") as file:
        columns = file.readline().strip().split(",")
    kind = next((kind for column, kind in _TRACE_COLUMNS.items() if column in columns), None)
    if kind is None:
        return WorkloadSpec(_NUM_REQUESTS, lengths=LengthSpec("csv", path=workload))
    return WorkloadSpec(_NUM_REQUESTS, trace=TraceSpec(kind, workload))
