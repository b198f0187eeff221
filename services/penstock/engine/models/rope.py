"""Rotary position embeddings: the scalings config.json may ask for, and the table of cosines and sines they make."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from penstock.core.errors import UnsupportedModel


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """What config.json says, whichever way it spells it."""

    kind: str  # default, linear, llama3 or yarn
    theta: float
    max_positions: int  # max_position_embeddings as written
    original_max_positions: int  # of the model before its context was stretched
    parameters: Mapping[str, Any]  # the rest, as the scaling's own paper names it

    @property
    def factor(self) -> float:
        return float(self.parameters.get("factor") or self.max_positions / self.original_max_positions)

    @property
    def max_context_tokens(self) -> int:
        """Yarn and linear configs name the length before stretching, llama3 configs the one after."""
        if self.kind == "yarn":
            return max(self.max_positions, int(self.original_max_positions * self.factor))
        return int(self.max_positions * self.factor) if self.kind == "linear" else self.max_positions


def parse_rope(raw: Mapping[str, Any], default_theta: float) -> RopeConfig:
    """Read `rope_theta` + `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5)."""
    parameters = {**(raw.get("rope_scaling") or {}), **(raw.get("rope_parameters") or {})}
    if any(isinstance(value, Mapping) for value in parameters.values()):
        raise UnsupportedModel("config.json has rope parameters per layer type; one set for all layers is supported.")
    kind = str(parameters.pop("rope_type", None) or parameters.pop("type", None) or "default")
    parameters.pop("type", None)
    if kind not in SCALINGS:
        raise UnsupportedModel(f"The rope scaling {kind!r} is not supported; supported are {', '.join(SCALINGS)}.")
    partial = parameters.get("partial_rotary_factor") or raw.get("partial_rotary_factor") or 1.0
    if partial != 1.0:
        raise UnsupportedModel(f"partial_rotary_factor={partial} is not supported; only 1.0 is.")
    max_positions = int(raw.get("max_position_embeddings") or 2048)
    return RopeConfig(
        kind=kind,
        theta=float(parameters.pop("rope_theta", None) or raw.get("rope_theta") or default_theta),
        max_positions=max_positions,
        original_max_positions=int(parameters.get("original_max_position_embeddings") or max_positions),
        parameters=parameters,
    )


def rope_table(config: RopeConfig, head_dim: int, num_positions: int) -> Tensor:
    """[num_positions, head_dim] float32: cosines in the first half of a row, sines in the second."""
    frequencies, magnitude = rope_frequencies(config, head_dim)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.int64).float(), frequencies)
    return torch.cat((angles.cos(), angles.sin()), dim=-1) * magnitude


def rope_frequencies(config: RopeConfig, head_dim: int) -> tuple[Tensor, float]:
    """Scaled as config.json asks, [head_dim / 2], and a factor on cosines and sines."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    return SCALINGS[config.kind](config, 1.0 / (config.theta**exponents))


def _default(config: RopeConfig, frequencies: Tensor) -> tuple[Tensor, float]:
    return frequencies, 1.0


def _linear(config: RopeConfig, frequencies: Tensor) -> tuple[Tensor, float]:
    return frequencies / config.factor, 1.0


def _llama3(config: RopeConfig, frequencies: Tensor) -> tuple[Tensor, float]:
    """Long waves are stretched, short ones kept, those between blended (Llama 3.1)."""
    low, high = float(config.parameters["low_freq_factor"]), float(config.parameters["high_freq_factor"])
    num_turns = config.original_max_positions * frequencies / (2 * math.pi)  # over the original context
    kept = ((num_turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - kept) * frequencies / config.factor + kept * frequencies, 1.0


def _yarn(config: RopeConfig, frequencies: Tensor) -> tuple[Tensor, float]:
    """Interpolate by parts (https://arxiv.org/abs/2309.00071, section 3.2), and sharpen attention (3.4)."""
    parameters, num_frequencies = config.parameters, frequencies.shape[0]

    def dimension_with(num_turns: float) -> float:
        ratio = config.original_max_positions / (num_turns * 2 * math.pi)
        return num_frequencies * math.log(ratio) / math.log(config.theta)

    low = dimension_with(float(parameters.get("beta_fast") or 32))
    high = dimension_with(float(parameters.get("beta_slow") or 1))
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * num_frequencies - 1)
    ramp = (torch.arange(num_frequencies, dtype=torch.float32) - low) / max(high - low, 0.001)
    stretched = ramp.clamp(0.0, 1.0)
    return frequencies / config.factor * stretched + frequencies * (1 - stretched), _yarn_magnitude(config)


def _yarn_magnitude(config: RopeConfig) -> float:
    parameters = config.parameters
    if (given := parameters.get("attention_factor")) is not None:
        return float(given)

    def magnitude(weight: float) -> float:
        return 1.0 if config.factor <= 1 else 0.1 * weight * math.log(config.factor) + 1.0

    if (over := parameters.get("mscale")) and (under := parameters.get("mscale_all_dim")):
        return magnitude(float(over)) / magnitude(float(under))
    return magnitude(1.0)


SCALINGS: Mapping[str, Callable[[RopeConfig, Tensor], tuple[Tensor, float]]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
"""Each scaling takes the unscaled frequencies [head_dim / 2] and returns its own, and a factor on cosines and sines."""
