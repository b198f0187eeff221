"""The gateway counts the tokens of an image as transformers' processor makes them, from a folder saved by it."""

import json
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import Qwen2_5_VLConfig
from transformers.image_transforms import convert_to_rgb
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from penstock.gateway.images.vision import Detail, load_vision
from penstock.gateway.model_folder import load_model_folder
from penstock.runtime.images import to_rgb
from tests.image_files import image_file, picture
from tests.seeing_gateway import TEMPLATE, seeing_vocabulary

MIN_PIXELS, MAX_PIXELS = 40 * 40, 300 * 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    config: Any = Qwen2_5_VLConfig(
        text_config={"max_position_embeddings": 4096, "vocab_size": 500},
        image_token_id=402,
        architectures=["Qwen2_5_VLForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS).save_pretrained(folder)
    seeing_vocabulary().save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_a_folder_as_transformers_saves_it_is_read(folder: Path) -> None:
    model = load_model_folder(folder, "seeing", 0)
    assert model.vision is not None
    assert (model.max_context_tokens, model.tokenizer.vocab_size) == (4096, 500)
    assert (model.vision.placeholder_id, model.vision.patch_size, model.vision.merge_size) == (402, 14, 2)
    assert (model.vision.min_pixels, model.vision.max_pixels) == (MIN_PIXELS, MAX_PIXELS)


def test_grids_are_the_processors(folder: Path) -> None:
    vision = load_vision(folder, json.loads((folder / "config.json").read_text()))
    processor: Any = Qwen2VLImageProcessorPil.from_pretrained(folder)
    assert vision is not None
    draw = random.Random(1)
    sizes = [(draw.randint(8, 900), draw.randint(8, 900)) for _ in range(60)]
    for width, height in [*sizes, (1, 1), (2, 400), (600, 3), (299, 301)]:
        (theirs,) = processor([Image.new("RGB", (width, height))], return_tensors="np")["image_grid_thw"]
        assert vision.grid(width, height, Detail.AUTO) == tuple(theirs), (width, height)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "RGBA", "CMYK", "1"])
def test_pixels_are_what_transformers_makes_of_the_file(mode: str) -> None:
    file = image_file(picture(mode=mode), "JPEG" if mode == "CMYK" else "PNG")
    with Image.open(BytesIO(file)) as image:
        theirs: Any = convert_to_rgb(image)
    assert to_rgb(file).tobytes() == theirs.tobytes()


def test_an_image_too_thin_for_transformers_is_too_thin(folder: Path) -> None:
    vision = load_vision(folder, json.loads((folder / "config.json").read_text()))
    processor: Any = Qwen2VLImageProcessorPil.from_pretrained(folder)
    assert vision is not None
    with pytest.raises(ValueError, match="aspect ratio"):
        processor([Image.new("RGB", (201, 1))], return_tensors="np")
    with pytest.raises(ValueError, match="longer than 200 times"):
        vision.grid(201, 1, Detail.AUTO)
    assert vision.grid(200, 1, Detail.AUTO)[2] > 0
