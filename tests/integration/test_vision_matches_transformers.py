"""Our vision tower and its preprocessing against transformers on the same random checkpoint and pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from penstock.engine.image_encoder import EncodeInput
from penstock.engine.options import EngineOptions
from penstock.engine.vision.config import parse_vision_config
from penstock.engine.vision.encoder import build_image_encoder
from penstock.engine.vision.preprocess import Preprocessor, read_normalisation
from tests.integration.image_models import HIDDEN_SIZE, VisionOracle, grid, picture, png

TOLERANCE = 1e-4
SIZES: dict[str, list[tuple[int, int]]] = {
    "one of whole windows": [(112, 112)],
    "one with windows cut at two sides": [(150, 95)],
    "smaller than a window": [(20, 30)],
    "larger than the limit": [(900, 700)],
    "one row of windows": [(28, 190)],
    "several of one size": [(112, 84)] * 3,
    "several of mixed sizes": [(150, 95), (60, 60), (84, 140), (28, 112), (60, 60)],
}


@pytest.fixture(params=SIZES)
def pictures(request: pytest.FixtureRequest) -> list[Image.Image]:
    return [picture(*size, seed=seed) for seed, size in enumerate(SIZES[request.param])]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> VisionOracle:
    return VisionOracle(tmp_path_factory.mktemp("qwen2_5_vl"))


async def encode(folder: Path, pictures: list[Image.Image], dtype: str = "auto") -> list[torch.Tensor]:
    encoder = build_image_encoder(EngineOptions(folder, device="cpu", dtype=dtype))
    try:
        encoded = await encoder.encode([EncodeInput(png(image), grid(image)) for image in pictures])
        assert all(rows.shape[1] == HIDDEN_SIZE * encoder.info.element_bytes for rows in encoded)
        torch_dtype = getattr(torch, encoder.info.dtype)
    finally:
        encoder.close()
    return [torch.from_numpy(rows).view(torch_dtype).float() for rows in encoded]


async def test_embeddings_match(oracle: VisionOracle, pictures: list[Image.Image]) -> None:
    ours, theirs = await encode(oracle.folder, pictures), oracle.embeddings(pictures)
    for of_image, expected in zip(ours, theirs, strict=True):
        assert expected.std() > 0.05
        torch.testing.assert_close(of_image, expected, atol=TOLERANCE, rtol=0)


def test_patches_match(oracle: VisionOracle, pictures: list[Image.Image]) -> None:
    config = parse_vision_config(oracle.model.config.to_dict() | {"dtype": "float32"})
    preprocessor = Preprocessor(config, read_normalisation(oracle.folder))
    expected = oracle.processor(pictures, return_tensors="np")
    assert [list(grid(image)) for image in pictures] == expected["image_grid_thw"].tolist()
    patches = preprocessor.batch([(png(image), grid(image)) for image in pictures])
    np.testing.assert_allclose(patches, expected["pixel_values"], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
async def test_half_precision_stays_near_single(oracle: VisionOracle, dtype: str) -> None:
    pictures = [picture(150, 95), picture(60, 60)]
    ours, theirs = await encode(oracle.folder, pictures, dtype), oracle.embeddings(pictures)
    similarity = torch.nn.functional.cosine_similarity(torch.cat(ours), torch.cat(theirs), dim=-1)
    assert similarity.min() > 0.999
