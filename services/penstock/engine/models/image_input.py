"""What a language model must know of images: how its rope is cut into sections, and how patches become tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.core.errors import UnsupportedModel
from penstock.engine.models.language_part import ROPE_KEYS

DEFAULT_SECTIONS = (16, 24, 24)


@dataclass(frozen=True, slots=True)
class ImageInput:
    """M-RoPE of Qwen2.5-VL: a token of an image is turned by its place in time, its row and its column."""

    rope_sections: tuple[int, ...]  # of a head's frequencies, how many turn with time, row, column, time ...
    merge_size: int  # so many patches, high and wide, are one token


def parse_image_input(raw: Mapping[str, Any], hidden_size: int, head_dim: int) -> ImageInput:
    """raw: as `language_part` returns it. Raises UnsupportedModel with what is wrong."""
    vision = raw.get("vision_config")
    if not isinstance(vision, Mapping):
        raise UnsupportedModel("config.json has no vision_config.")
    given = [raw[key]["mrope_section"] for key in ROPE_KEYS if "mrope_section" in (raw.get(key) or {})]
    sections = tuple(given[-1]) if given else DEFAULT_SECTIONS
    if sum(sections) != head_dim // 2:
        raise UnsupportedModel(f"mrope_section={list(sections)} does not cut a head of {head_dim} into sections.")
    if (width := vision.get("out_hidden_size", hidden_size)) != hidden_size:
        raise UnsupportedModel(f"Embeddings of images are {width} wide, but those of tokens {hidden_size}.")
    return ImageInput(sections, int(vision.get("spatial_merge_size", 2)))
