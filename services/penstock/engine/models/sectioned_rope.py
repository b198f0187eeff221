"""M-RoPE: rows of a rope table whose frequencies turn with different coordinates of a token.

Only tokens of images have coordinates that differ, so only steps with such tokens need rows of their own; all others
read the plain table at their one position.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock.engine.models.rope import RopeConfig, rope_frequencies

NUM_AXES = 3  # time, row, column


class SectionedRope:
    """The frequencies of a model, and the axis each belongs to."""

    def __init__(self, config: RopeConfig, head_dim: int, sections: Sequence[int], device: torch.device) -> None:
        frequencies, self._magnitude = rope_frequencies(config, head_dim)
        self._frequencies = frequencies.to(device)  # [head_dim / 2]
        axes = torch.arange(len(sections)) % NUM_AXES
        self._axes = axes.repeat_interleave(torch.tensor(sections)).to(device)  # [head_dim / 2]

    def rows(self, positions: Tensor) -> Tensor:
        """positions: [3, num_tokens] -> [num_tokens, head_dim] float32, as rows of `rope_table`."""
        angles = positions.float().index_select(0, self._axes).t() * self._frequencies
        return torch.cat((angles.cos(), angles.sin()), dim=-1) * self._magnitude
