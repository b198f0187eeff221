"""What the gateway reads of a model folder about images, and how many tokens it makes of one."""

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import UnsupportedModel
from penstock.gateway.images.vision import Detail, load_vision
from tests.seeing_gateway import make_vision

CONFIG = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "image_token_id": 151655,
    "vision_config": {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
}
RELEASED = {"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "merge_size": 2}
SAVED = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}, "patch_size": 14, "merge_size": 2}


def write(folder: Path, processor: Any, name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(processor if isinstance(processor, str) else json.dumps(processor))
    return folder


@pytest.mark.parametrize("processor", [RELEASED, SAVED], ids=["min_pixels", "size"])
def test_both_spellings_of_the_limits_are_read(tmp_path: Path, processor: dict[str, Any]) -> None:
    vision = load_vision(write(tmp_path, processor), CONFIG)
    assert vision is not None
    assert (vision.placeholder_id, vision.patch_size, vision.merge_size) == (151655, 14, 2)
    assert (vision.min_pixels, vision.max_pixels) == (3136, 12845056)
    assert vision.grid(640, 480, Detail.AUTO) == (1, 34, 46)
    assert vision.num_tokens((1, 34, 46)) == 391


def test_what_the_processor_leaves_out_is_the_towers_or_the_default(tmp_path: Path) -> None:
    tower = {"patch_size": 8, "spatial_merge_size": 4}
    vision = load_vision(write(tmp_path, {}), {**CONFIG, "vision_config": tower})
    assert vision is not None
    assert (vision.patch_size, vision.merge_size, vision.min_pixels, vision.max_pixels) == (8, 4, 3136, 1003520)


def test_the_processor_may_be_a_section_of_another_file(tmp_path: Path) -> None:
    write(tmp_path, {"image_processor": SAVED, "video_processor": {}}, "processor_config.json")
    vision = load_vision(tmp_path, CONFIG)
    assert vision is not None and vision.max_pixels == 12845056


def test_a_model_of_another_architecture_reads_text_only(tmp_path: Path) -> None:
    assert load_vision(write(tmp_path, RELEASED), {"architectures": ["Qwen2ForCausalLM"]}) is None
    assert load_vision(tmp_path, {}) is None


@pytest.mark.parametrize(
    ("processor", "changes", "sentence"),
    [
        (None, {}, r"no preprocessor_config\.json"),
        ("{", {}, "not valid JSON"),
        ({**RELEASED, "patch_size": 16}, {}, "patch_size is 16, the vision tower's is 14"),
        ({**RELEASED, "merge_size": 1}, {}, "merge_size is 1, the vision tower's is 2"),
        ({**RELEASED, "min_pixels": 10**9}, {}, "cannot have from 1000000000 to"),
        ({**RELEASED, "max_pixels": "many"}, {}, "make no sense"),
        ({**RELEASED, "size": 5, "min_pixels": 0}, {}, "make no sense"),
        (RELEASED, {"image_token_id": None}, "make no sense"),
    ],
)
def test_settings_that_cannot_be_followed_stop_the_process(
    tmp_path: Path, processor: Any, changes: dict[str, Any], sentence: str
) -> None:
    if processor is not None:
        write(tmp_path, processor)
    with pytest.raises(UnsupportedModel, match=sentence):
        load_vision(tmp_path, {**CONFIG, **changes})


@pytest.mark.parametrize(
    ("detail", "max_pixels", "grid"),
    [
        (Detail.AUTO, 2048 * 2048, (1, 128, 192)),
        (Detail.HIGH, 2048 * 2048, (1, 128, 192)),
        (Detail.LOW, 2048 * 2048, (1, 52, 78)),  # 416 x 624 pixels
        (Detail.LOW, 256 * 256, (1, 26, 38)),  # the model's own limit is lower
    ],
)
def test_low_detail_limits_the_pixels(detail: Detail, max_pixels: int, grid: tuple[int, int, int]) -> None:
    assert make_vision(max_pixels=max_pixels).grid(1536, 1024, detail) == grid


def test_low_detail_of_a_model_that_wants_more_is_its_least() -> None:
    vision = make_vision(min_pixels=1024 * 1024, max_pixels=2048 * 2048)
    assert vision.grid(1536, 1024, Detail.LOW) == (1, 104, 156)  # 832 x 1248 pixels


def test_images_are_called_the_same_only_if_their_embeddings_are() -> None:
    vision = make_vision()
    name = vision.content_hash(b"file", (1, 4, 4))
    assert len(name) == 16 and name == make_vision().content_hash(b"file", (1, 4, 4))
    others = [
        vision.content_hash(b"files", (1, 4, 4)),
        vision.content_hash(b"file", (1, 4, 8)),
        make_vision(settings=b'{"image_mean": 1}').content_hash(b"file", (1, 4, 4)),
    ]
    assert len({name, *others}) == 4
