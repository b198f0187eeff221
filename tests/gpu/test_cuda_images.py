"""A model that takes images on a GPU: the same embeddings and the same greedy tokens as on the CPU."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from penstock.core.image_size import Grid, count_tokens
from penstock.core.images import ImageSpan
from penstock.engine.image_encoder import EncodeInput
from penstock.engine.model_runner import build
from penstock.engine.models.config import parse_config
from penstock.engine.options import EngineOptions
from penstock.engine.vision.config import parse_vision_config
from penstock.engine.vision.encoder import build_image_encoder
from penstock.engine.vision.weights import expected_shapes as vision_shapes
from penstock.engine.weights import EXPERT_NAMES, expected_shapes
from penstock.transfer.embeddings import write_embeddings
from tests.integration.drive_runner import Driver

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "vocab_size": 500,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
    "vision_config": {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 200,
        "num_heads": 2,
        "out_hidden_size": 128,
        "fullatt_block_indexes": [1, 3],
    },
}
GRIDS: list[Grid] = [(1, 22, 12), (1, 4, 4), (1, 22, 12)]
PAGES = [[7, 3, 9, 1, 8], [2], [10, 11, 12, 13, 14]]


def make_checkpoint(folder: Path) -> Path:
    config = parse_config(CONFIG)
    shapes = expected_shapes(config, EXPERT_NAMES[0])
    shapes |= {f"visual.{name}": shape for name, shape in vision_shapes(parse_vision_config(CONFIG)).items()}
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(shape, generator=generator) * (1.2 * np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3)
        for name, shape in shapes.items()
    }
    weights = {name: tensor + ("norm" in name or "ln_q" in name) for name, tensor in weights.items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text("{}")
    return folder


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.RandomState(seed).randint(0, 256, (9, 9, 3), np.uint8)
    Image.fromarray(pixels).resize((200, 300)).save(buffer, "PNG")
    return buffer.getvalue()


async def encode(options: EngineOptions) -> list[torch.Tensor]:
    encoder = build_image_encoder(options)
    rows = await encoder.encode([EncodeInput(picture(seed), grid) for seed, grid in enumerate(GRIDS)])
    dtype = getattr(torch, encoder.info.dtype)
    encoder.close()
    return [torch.from_numpy(of_image).view(dtype) for of_image in rows]


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.999999), ("bfloat16", 0.999), ("float16", 0.99999)])
async def test_the_gpu_encodes_as_the_cpu_does(tmp_path: Path, dtype: str, least: float) -> None:
    folder = make_checkpoint(tmp_path)
    ours = await encode(EngineOptions(folder, device="cuda", dtype=dtype))
    expected = await encode(EngineOptions(folder, device="cpu"))
    similarity = torch.nn.functional.cosine_similarity(torch.cat(ours).float(), torch.cat(expected), dim=-1)
    assert similarity.min() > least


@pytest.mark.gpu
async def test_the_gpu_continues_prompts_with_images_as_the_cpu_does(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    embeddings = await encode(EngineOptions(folder, device="cpu"))
    prompt, spans = list(range(10, 15)), []
    for grid in GRIDS:
        spans.append(ImageSpan(len(prompt), count_tokens(grid, 2), b"", grid))
        prompt += [5] * spans[-1].num_tokens + [20, 21]
    outputs = []
    for device in ("cpu", "cuda"):
        runner = build(EngineOptions(folder, device=device, num_blocks=128, num_embedding_tokens=256))
        assert runner.embeddings is not None
        for pages, rows in zip(PAGES, embeddings, strict=True):
            write_embeddings(runner.embeddings, pages, rows.view(torch.uint8).numpy())
        driver = Driver(runner, shuffle_seed=1)
        sequences = [
            driver.sequence(prompt, images=spans, image_block_ids=PAGES),
            driver.sequence(range(30, 60)),
            driver.sequence(prompt[: spans[1].start], images=spans[:1], image_block_ids=PAGES[:1]),
        ]
        outputs.append(await driver.generate(sequences, 20, chunk=50))
        runner.close()
    assert outputs[0] == outputs[1]
