"""From the tensors of a checkpoint to a VisionTower; those of the language model are not read."""

import torch
from torch import Tensor

from penstock.engine.checkpoint import VISION, Checkpoint
from penstock.engine.models.linear import Linear, make_linear
from penstock.engine.models.mlp import DenseMlp
from penstock.engine.models.norm import RmsNorm
from penstock.engine.vision.config import NORM_EPSILON, VisionConfig
from penstock.engine.vision.tower import Merger, TowerLayer, VisionTower

LANGUAGE = ("model.", "lm_head.")
Shapes = dict[str, tuple[int, ...]]


def load_tower(checkpoint: Checkpoint, config: VisionConfig, dtype: torch.dtype, device: torch.device) -> VisionTower:
    """Check every tensor's name and shape, then read them all."""
    checkpoint.check({VISION + name: shape for name, shape in expected_shapes(config).items()}, other_parts=LANGUAGE)
    return _TowerLoader(checkpoint, config, dtype, device).load()


def expected_shapes(config: VisionConfig) -> Shapes:
    """Every tensor a tower must have."""
    hidden, merged = config.hidden_size, config.hidden_size * config.merge_size**2
    patch = (config.num_channels, config.patch_frames, config.patch_size, config.patch_size)
    shapes: Shapes = {
        "patch_embed.proj.weight": (hidden, *patch),
        "merger.ln_q.weight": (hidden,),
        **_linear_shapes("merger.mlp.0", merged, merged),
        **_linear_shapes("merger.mlp.2", config.embedding_size, merged),
    }
    for layer in range(config.num_layers):
        prefix = f"blocks.{layer}"
        shapes |= {f"{prefix}.norm{i}.weight": (hidden,) for i in (1, 2)}
        shapes |= _linear_shapes(f"{prefix}.attn.qkv", 3 * hidden, hidden)
        shapes |= _linear_shapes(f"{prefix}.attn.proj", hidden, hidden)
        for name in ("gate", "up"):
            shapes |= _linear_shapes(f"{prefix}.mlp.{name}_proj", config.intermediate_size, hidden)
        shapes |= _linear_shapes(f"{prefix}.mlp.down_proj", hidden, config.intermediate_size)
    return shapes


def _linear_shapes(name: str, num_out: int, num_in: int) -> Shapes:
    return {f"{name}.weight": (num_out, num_in), f"{name}.bias": (num_out,)}


class _TowerLoader:
    def __init__(self, checkpoint: Checkpoint, config: VisionConfig, dtype: torch.dtype, device: torch.device) -> None:
        self._checkpoint = checkpoint
        self._config = config
        self._dtype = dtype
        self._device = device

    def load(self) -> VisionTower:
        patch_embedding = self._take("patch_embed.proj.weight").flatten(1)
        layers = [self._layer(f"blocks.{layer}") for layer in range(self._config.num_layers)]
        merger = Merger(self._norm("merger.ln_q"), self._linear("merger.mlp.0"), self._linear("merger.mlp.2"))
        like = torch.empty(0, dtype=self._dtype, device=self._device)
        return VisionTower(self._config, make_linear(patch_embedding), layers, merger, like)

    def _layer(self, prefix: str) -> TowerLayer:
        gate_up = self._linear(f"{prefix}.mlp.gate_proj", f"{prefix}.mlp.up_proj")
        return TowerLayer(
            attention_norm=self._norm(f"{prefix}.norm1"),
            qkv=self._linear(f"{prefix}.attn.qkv"),
            output=self._linear(f"{prefix}.attn.proj"),
            mlp_norm=self._norm(f"{prefix}.norm2"),
            mlp=DenseMlp(gate_up, self._linear(f"{prefix}.mlp.down_proj")),
        )

    def _linear(self, *names: str) -> Linear:
        """One product out of several; their outputs lie side by side."""
        weight = torch.cat([self._take(f"{name}.weight") for name in names])
        return make_linear(weight, torch.cat([self._take(f"{name}.bias") for name in names]))

    def _norm(self, name: str) -> RmsNorm:
        return RmsNorm(self._take(f"{name}.weight"), NORM_EPSILON)

    def _take(self, name: str) -> Tensor:
        return self._checkpoint.tensor(VISION + name).to(self._device, self._dtype)
