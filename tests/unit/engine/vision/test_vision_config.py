"""What a vision tower may be, and how pictures may be prepared for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import UnreadableImage, UnsupportedModel
from penstock.core.image_size import Grid
from penstock.engine.vision.config import parse_vision_config
from penstock.engine.vision.preprocess import Normalisation, Preprocessor, read_normalisation

VISION = {"hidden_size": 1280, "window_size": 112}
RAW: dict[str, Any] = {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "vision_config": VISION}


def test_what_released_configs_leave_out_is_as_released_models_are() -> None:
    config = parse_vision_config(RAW | {"torch_dtype": "bfloat16"})
    assert (config.num_layers, config.head_dim, config.window_tokens) == (32, 80, 4)
    assert config.patch_elements == 3 * 2 * 14 * 14
    assert config.full_layers == {7, 15, 23, 31}
    assert config.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, "supported are Qwen2_5_VLForConditionalGeneration"),
        ({"vision_config": None}, "no vision tower"),
        ({"vision_config": VISION | {"hidden_act": "gelu"}}, "gelu"),
        ({"vision_config": VISION | {"patch_size": [14, 14]}}, "patch_size"),
        ({"vision_config": VISION | {"num_heads": 24}}, "24 heads"),
        ({"dtype": "float64"}, "float64"),
    ],
)
def test_other_towers_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        parse_vision_config(RAW | change)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"do_normalize": False}, "do_normalize"),
        ({"do_resize": False, "do_rescale": False}, "do_resize, do_rescale"),
        ({"resample": 2}, "resample=2"),
    ],
)
def test_preparations_that_are_not_made_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(UnsupportedModel, match=words):
        read_normalisation(tmp_path)


def test_a_folder_without_an_image_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"processor_config\.json"):
        read_normalisation(tmp_path)
    (tmp_path / "processor_config.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match="no image_processor"):
        read_normalisation(tmp_path)


@pytest.mark.parametrize("grid", [(2, 4, 4), (1, 3, 4), (1, 4, 3), (1, 0, 4)])
def test_a_grid_that_no_image_has_is_refused(grid: Grid) -> None:
    preprocessor = Preprocessor(parse_vision_config(RAW), Normalisation(1.0, (0.0,) * 3, (1.0,) * 3))
    with pytest.raises(UnreadableImage, match="grid"):
        preprocessor.patches(b"", grid)


def test_pixels_are_scaled_before_they_are_normalised(tmp_path: Path) -> None:
    settings = {"rescale_factor": 0.01, "image_mean": [0.5, 1.0, 0.0], "image_std": [0.5, 2.0, 1.0]}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    table = read_normalisation(tmp_path).table()
    assert table.shape == (3, 256)
    assert table[:, 200].tolist() == pytest.approx([3.0, 0.5, 2.0])
