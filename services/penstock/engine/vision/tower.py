"""The vision tower of Qwen2.5-VL: from patches of pixels to embeddings, several images as one flattened run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from penstock.core.image_size import Grid
from penstock.engine.models.linear import Linear
from penstock.engine.models.mlp import DenseMlp
from penstock.engine.models.norm import RmsNorm
from penstock.engine.vision.config import VisionConfig
from penstock.engine.vision.layout import Groups, TowerLayout, lay_out


@dataclass(frozen=True, slots=True)
class TowerLayer:
    """Weights of one layer."""

    attention_norm: RmsNorm
    qkv: Linear
    output: Linear
    mlp_norm: RmsNorm
    mlp: DenseMlp


@dataclass(frozen=True, slots=True)
class Merger:
    """Weights of what makes one embedding of neighbouring patches."""

    norm: RmsNorm
    up: Linear
    down: Linear

    def __call__(self, hidden: Tensor, num_units: int) -> Tensor:
        """[num_patches, hidden] -> [num_units, embedding]."""
        return self.down(functional.gelu(self.up(self.norm(hidden).view(num_units, -1))))


class VisionTower:
    """All weights of a tower and how they are run."""

    def __init__(
        self, config: VisionConfig, patch_embedding: Linear, layers: Sequence[TowerLayer], merger: Merger, like: Tensor
    ) -> None:
        """like: a tensor of the tower's type and device."""
        self.config = config
        self._patch_embedding = patch_embedding
        self._layers = layers
        self._merger = merger
        self._like = like
        half = config.head_dim // 2
        exponents = torch.arange(0, half, 2, dtype=torch.int64).float() / half
        self._frequencies = (1.0 / config.rope_theta**exponents).to(like.device)  # [head_dim / 4]

    @torch.inference_mode()
    def run(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """patches: [num_patches, patch_elements] of all images -> [num_embeddings, embedding_size], in their order."""
        config = self.config
        layout = lay_out(grids, config.merge_size, config.window_tokens)
        order = torch.from_numpy(layout.order).to(self._like.device)
        units = patches.to(self._like).view(len(order), -1).index_select(0, order)
        hidden = self._patch_embedding(units.view(patches.shape))
        attention = _Attention(config, layout, self._rope(layout))
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(layer.attention_norm(hidden))
            hidden = layer.output.add_to(hidden, attention.attend(qkv, is_full=index in config.full_layers))
            hidden = hidden.add_(layer.mlp(layer.mlp_norm(hidden)))
        merged = self._merger(hidden, len(order))
        return torch.empty_like(merged).index_copy_(0, order, merged)

    def _rope(self, layout: TowerLayout) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each [num_patches, 1, 1, head_dim / 2] float32: of the row, then of the column."""
        coordinates = torch.from_numpy(layout.coordinates).to(self._like.device).float()
        angles = (coordinates.unsqueeze(-1) * self._frequencies).flatten(1)[:, None, None]
        return angles.cos(), angles.sin()


class _Attention:
    """Attention of one run through the tower."""

    def __init__(self, config: VisionConfig, layout: TowerLayout, rope: tuple[Tensor, Tensor]) -> None:
        self._num_heads, self._head_dim = config.num_heads, config.head_dim
        self._layout = layout
        self._cos, self._sin = rope
        frames = layout.frame_patches
        self._frame_patches = None if frames is None else torch.from_numpy(frames).to(self._cos.device)

    def attend(self, qkv: Tensor, is_full: bool) -> Tensor:
        """qkv: [num_patches, 3 * hidden], rotated in place. Returns [num_patches, hidden]."""
        self._rotate(qkv.view(len(qkv), 3, self._num_heads, self._head_dim)[:, :2])
        if not is_full:
            return self._within(qkv, self._layout.windows)
        if self._frame_patches is None:  # all attend to all, in whatever order
            return self._within(qkv, self._layout.frames)
        output = self._within(qkv.index_select(0, self._frame_patches), self._layout.frames)
        return torch.empty_like(output).index_copy_(0, self._frame_patches, output)

    def _rotate(self, query_and_key: Tensor) -> None:
        """[num_patches, 2, num_heads, head_dim], in float32 whatever the type."""
        low, high = query_and_key.float().chunk(2, dim=-1)
        turned_low = low * self._cos - high * self._sin
        turned_high = high * self._cos + low * self._sin
        query_and_key.copy_(torch.cat((turned_low, turned_high), dim=-1))

    def _within(self, qkv: Tensor, groups: Groups) -> Tensor:
        """Attention within segments of the run; those of one size in one call."""
        outputs = []
        runs = qkv.split([count * length for count, length in groups])
        for run, (count, length) in zip(runs, groups, strict=True):
            # [q k v, count, num_heads, length, head_dim]
            query, key, value = run.view(count, length, 3, self._num_heads, self._head_dim).permute(2, 0, 3, 1, 4)
            output = functional.scaled_dot_product_attention(query, key, value)
            outputs.append(output.transpose(1, 2).reshape(count * length, -1))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
