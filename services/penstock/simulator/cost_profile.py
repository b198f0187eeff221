"""Coefficients measured on a live worker: how they are fitted, and the file that `penstock simulate` and `plan` read.

    prefill   T = A  + B n            + C n^2        n tokens of one prompt
    decode    T = A' + B' sum(context) + C' batch
    message   what one of the four messages before the first token costs on top: gateway, RPC, Python on both sides

Least deviations of relative errors: relative, as DistServe fits (arXiv 2401.09670), so that short steps count as much
as long ones; deviations, not their squares, because a machine that does other things as well slows single samples.
No coefficient is negative: one that comes out so is left out and the rest is fitted again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from penstock.core.errors import InvalidSettings
from penstock.core.step_cost import StepCost
from penstock.simulator.hardware import ModelShape
from penstock.simulator.parsing import parse

_NUM_REWEIGHTINGS = 30
_EXACT = 1e-3  # relative errors below this count alike


@dataclass(frozen=True, slots=True)
class PrefillSample:
    """One prompt length, alone on the worker."""

    num_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DecodeSample:
    """One batch, long enough in the same company."""

    num_sequences: int
    num_context_tokens: int  # of all together
    seconds: float


@dataclass(frozen=True, slots=True)
class FitErrors:
    """Relative errors of the fit on its own samples: a poor fit is no basis for a plan."""

    prefill_mean: float
    prefill_max: float
    decode_mean: float
    decode_max: float


@dataclass(frozen=True, slots=True)
class CostProfile:
    """What was measured, where. `message_s` is one way, between any two processes; the shape is for KV sizes."""

    name: str
    cost: StepCost
    message_s: float
    errors: FitErrors
    num_samples: int
    shape: ModelShape | None = None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf8")


def read_profile(path: Path) -> CostProfile:
    """Raises InvalidSettings when it is no such file."""
    try:
        return parse(CostProfile, json.loads(path.read_text(encoding="utf8")), str(path))
    except OSError as error:
        raise InvalidSettings("costs", str(path), error.strerror or "cannot be read") from error
    except ValueError as error:
        raise InvalidSettings("costs", str(path), f"is no JSON: {error}") from error


def fit(prefills: Sequence[PrefillSample], decodes: Sequence[DecodeSample]) -> tuple[StepCost, FitErrors]:
    """Needs three prompt lengths and three batches, at least."""
    if len({sample.num_tokens for sample in prefills}) < 3 or len(decodes) < 3:
        raise ValueError("three prompt lengths and three decode batches are the least that can be fitted")
    prefill, prefill_errors = _fit(
        [(1, sample.num_tokens, sample.num_tokens**2) for sample in prefills], [sample.seconds for sample in prefills]
    )
    decode, decode_errors = _fit(
        [(1, sample.num_context_tokens, sample.num_sequences) for sample in decodes],
        [sample.seconds for sample in decodes],
    )
    errors = FitErrors(
        prefill_mean=sum(prefill_errors) / len(prefill_errors),
        prefill_max=max(prefill_errors),
        decode_mean=sum(decode_errors) / len(decode_errors),
        decode_max=max(decode_errors),
    )
    return StepCost(*prefill, *decode), errors


def _fit(rows: Sequence[Sequence[float]], seconds: Sequence[float]) -> tuple[list[float], list[float]]:
    """Coefficients, none negative, and the relative error of each row."""
    matrix, target = np.asarray(rows, np.float64), np.asarray(seconds, np.float64)
    weighted = matrix / target[:, None]
    kept = list(range(matrix.shape[1]))
    while True:
        solution = _robust(weighted[:, kept])
        if (solution >= 0).all() or len(kept) == 1:
            break
        del kept[int(np.argmin(solution * np.abs(weighted[:, kept]).max(axis=0)))]
    coefficients = np.zeros(matrix.shape[1])
    coefficients[kept] = np.maximum(solution, 0.0)
    errors = np.abs(matrix @ coefficients - target) / target
    return [float(value) for value in coefficients], [float(value) for value in errors]


def _robust(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The solution of rows @ x = 1 that makes the sum of absolute errors small, by reweighted least squares: a sample
    that something else on the machine slowed down must not bend the fit."""
    scale = np.abs(rows).max(axis=0)  # tokens squared beside ones: the same size for the solver
    weights = np.ones(len(rows))
    solution: npt.NDArray[np.float64] = np.zeros(rows.shape[1])
    for _ in range(_NUM_REWEIGHTINGS):
        roots = np.sqrt(weights)[:, None]
        solution = np.linalg.lstsq(rows / scale * roots, roots[:, 0], rcond=None)[0] / scale
        weights = 1 / np.maximum(np.abs(rows @ solution - 1), _EXACT)
    return solution
