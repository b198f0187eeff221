"""What a model's vision makes of an image: how many patches, how many tokens, and a name for the result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from penstock.core.errors import UnsupportedModel
from penstock.core.image_size import Grid, count_tokens, grid_of, smart_resize
from penstock.core.images import CONTENT_HASH_BYTES

ARCHITECTURE = "Qwen2_5_VLForConditionalGeneration"
LOW_DETAIL_PIXELS = 512 * 512  # OpenAI's low detail is a picture of 512 x 512

# of transformers, for what preprocessor_config.json leaves out
_MIN_PIXELS, _MAX_PIXELS = 56 * 56, 28 * 28 * 1280


class Detail(StrEnum):
    """OpenAI's word for how closely an image is looked at."""

    AUTO = "auto"
    LOW = "low"  # at most LOW_DETAIL_PIXELS, unless the model's least is more
    HIGH = "high"  # like auto: as many pixels as the image has and the model takes


@dataclass(frozen=True, slots=True)
class Vision:
    """The settings of one model's image processor, as far as they decide about tokens."""

    placeholder_id: int  # the token that stands for one embedding
    patch_size: int  # pixels
    merge_size: int  # patches, in each direction, that become one embedding
    min_pixels: int
    max_pixels: int
    settings: bytes  # whatever else of the processor changes embeddings, as bytes

    def grid(self, width: int, height: int, detail: Detail) -> Grid:
        """Patches of an image of that many pixels. Raises ValueError for one that is too thin."""
        most = self.max_pixels
        if detail is Detail.LOW:
            most = max(self.min_pixels, min(most, LOW_DETAIL_PIXELS))
        factor = self.patch_size * self.merge_size
        return grid_of(*smart_resize(width, height, factor, self.min_pixels, most), self.patch_size)

    def num_tokens(self, grid: Grid) -> int:
        return count_tokens(grid, self.merge_size)

    def content_hash(self, file: bytes, grid: Grid) -> bytes:
        """Equal for equal embeddings. `detail` and the limits on pixels are in it as what they led to: the grid."""
        digest = hashlib.blake2b(file, digest_size=CONTENT_HASH_BYTES, person=b"penstock-image")
        digest.update(repr(grid).encode() + self.settings)
        return digest.digest()


def load_vision(folder: Path, config: Mapping[str, Any]) -> Vision | None:
    """The vision of a model folder, or None for one that reads text only."""
    if ARCHITECTURE not in (config.get("architectures") or ()):
        return None
    processor = _load_processor(folder)
    tower = config.get("vision_config") or {}
    size = processor.get("size") or {}
    try:
        vision = Vision(
            placeholder_id=int(config["image_token_id"]),
            patch_size=int(tower.get("patch_size", 14)),
            merge_size=int(tower.get("spatial_merge_size", 2)),
            min_pixels=int(processor.get("min_pixels") or size.get("shortest_edge") or _MIN_PIXELS),
            max_pixels=int(processor.get("max_pixels") or size.get("longest_edge") or _MAX_PIXELS),
            settings=json.dumps(processor, sort_keys=True).encode(),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedModel(f"The image settings in {folder} make no sense: {error!r}.") from error
    _check(vision, processor, folder)
    return vision


def _check(vision: Vision, processor: Mapping[str, Any], folder: Path) -> None:
    """The processor must cut images as the tower was built to take them."""
    for name, size in (("patch_size", vision.patch_size), ("merge_size", vision.merge_size)):
        given = processor.get(name, size)
        if size < 1 or given != size:
            raise UnsupportedModel(f"{folder}: the image processor's {name} is {given}, the vision tower's is {size}.")
    if not 1 <= vision.min_pixels <= vision.max_pixels:
        raise UnsupportedModel(
            f"{folder}: an image cannot have from {vision.min_pixels} to {vision.max_pixels} pixels."
        )


def _load_processor(folder: Path) -> dict[str, Any]:
    """preprocessor_config.json; newer folders have it as a section of processor_config.json."""
    for name, section in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        file = folder / name
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text("utf8"))
        except ValueError as error:
            raise UnsupportedModel(f"{file} is not valid JSON: {error}.") from error
        found = content if section is None else content.get(section)
        if isinstance(found, dict):
            return found
    raise UnsupportedModel(f"{folder} has no preprocessor_config.json, and the model reads images.")
