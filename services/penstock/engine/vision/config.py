"""The vision tower that a config.json describes; anything it cannot honour is refused here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import UnsupportedModel
from penstock.engine.models.config import ARCHITECTURES, parse_dtype

NORM_EPSILON = 1e-6  # fixed for the tower, whatever the language model's is
_DEFAULTS = {
    "depth": 32,
    "hidden_size": 3584,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "out_hidden_size": 3584,
}


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The tower of Qwen2.5-VL: most layers attend within windows of the image, a few within all of it."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_channels: int
    patch_size: int  # pixels, high and wide
    patch_frames: int
    merge_size: int  # so many patches, high and wide, become one embedding
    window_size: int  # pixels
    full_layers: frozenset[int]  # those that attend within the whole image
    embedding_size: int
    rope_theta: float
    dtype: str

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def patch_elements(self) -> int:
        return self.num_channels * self.patch_frames * self.patch_size**2

    @property
    def window_tokens(self) -> int:
        """Side of a window, in embeddings."""
        return self.window_size // self.merge_size // self.patch_size


def parse_vision_config(raw: Mapping[str, Any]) -> VisionConfig:
    """Read config.json, or raise UnsupportedModel with what is wrong."""
    names = raw.get("architectures") or ["unknown"]
    known = [name for name, architecture in ARCHITECTURES.items() if architecture.takes_images]
    vision = raw.get("vision_config")
    if not set(names) & set(known) or not isinstance(vision, Mapping):
        raise UnsupportedModel(f"{', '.join(names)} has no vision tower we know; supported are {', '.join(known)}.")
    if (activation := vision.get("hidden_act", "silu")) != "silu":
        raise UnsupportedModel(f"A vision tower with hidden_act={activation!r} is not supported; only 'silu' is.")
    sizes = {key: vision.get(key, default) for key, default in _DEFAULTS.items()}
    for key, value in sizes.items():
        if not isinstance(value, int) or value <= 0:
            raise UnsupportedModel(f"vision_config has {key}={value!r}; a positive whole number is needed.")
    if sizes["hidden_size"] % (4 * sizes["num_heads"]):
        raise UnsupportedModel(f"vision_config: {sizes['num_heads']} heads do not fit {sizes['hidden_size']}.")
    return VisionConfig(
        num_layers=sizes["depth"],
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_heads=sizes["num_heads"],
        num_channels=int(vision.get("in_channels") or vision.get("in_chans") or 3),
        patch_size=sizes["patch_size"],
        patch_frames=sizes["temporal_patch_size"],
        merge_size=sizes["spatial_merge_size"],
        window_size=sizes["window_size"],
        full_layers=frozenset(vision.get("fullatt_block_indexes", (7, 15, 23, 31))),
        embedding_size=sizes["out_hidden_size"],
        rope_theta=float((vision.get("rope_parameters") or {}).get("rope_theta", 10000.0)),
        dtype=parse_dtype(", ".join(names), raw),
    )
