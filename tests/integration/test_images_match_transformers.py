"""Qwen2.5-VL from pictures to tokens, through our encoder and model runner, against transformers."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from penstock.core.embeddings import PAGE_TOKENS
from penstock.core.types import Batch, ScheduledSequence
from penstock.core.types import Sequence as TokenSequence
from penstock.engine import model_runner
from penstock.engine.checkpoint import Checkpoint
from penstock.engine.image_encoder import EncodeInput
from penstock.engine.options import EngineOptions
from penstock.engine.runner import LayerGate
from penstock.engine.sampler import sample
from penstock.engine.vision.encoder import build_image_encoder
from penstock.transfer.embeddings import write_embeddings
from tests.integration.drive_runner import Driver
from tests.integration.image_models import VisionOracle, grid, picture, png, prompt_with

TOLERANCE = 1e-4
NUM_NEW_TOKENS = 8
SMALL, WIDE, HIGH, LARGE = picture(60, 60), picture(190, 60, 1), picture(60, 150, 2), picture(900, 700, 3)
Parts = Sequence[Sequence[int] | Image.Image]
PROMPTS: dict[str, Parts] = {
    "no image": [range(10, 40)],
    "first": [WIDE, range(10, 22)],
    "middle": [range(10, 22), HIGH, range(30, 37)],
    "last": [range(10, 22), LARGE],
    "several of one size": [range(10, 14), SMALL, SMALL, [20], SMALL, [21, 22]],
    "several of mixed sizes": [[10], WIDE, range(20, 40), SMALL, HIGH, range(50, 53)],
}


class ClosedGate(LayerGate):
    """Stops a pass after every layer."""

    @property
    def is_pause_wanted(self) -> bool:
        return True

    @is_pause_wanted.setter
    def is_pause_wanted(self, value: bool) -> None:
        """It stays as it is."""


class Shown:
    """A runner whose pool of embeddings our encoder fills."""

    def __init__(self, folder: Path, num_blocks: int = 96) -> None:
        options = EngineOptions(folder, device="cpu", num_blocks=num_blocks, num_embedding_tokens=1024)
        self.runner = model_runner.build(options)
        self.driver = Driver(self.runner, shuffle_seed=3)
        self._encoder = build_image_encoder(options)
        self._free_pages = list(range(1024 // PAGE_TOKENS))
        random.Random(5).shuffle(self._free_pages)

    async def sequence(self, parts: Parts) -> TokenSequence:
        token_ids, spans = prompt_with(parts)
        pages = [await self._encode(image) for image in parts if isinstance(image, Image.Image)]
        return self.driver.sequence(token_ids, images=spans, image_block_ids=pages)

    async def _encode(self, image: Image.Image) -> list[int]:
        (rows,) = await self._encoder.encode([EncodeInput(png(image), grid(image))])
        pages = [self._free_pages.pop() for _ in range(-(-len(rows) // PAGE_TOKENS))]
        assert self.runner.embeddings is not None
        write_embeddings(self.runner.embeddings, pages, rows)
        return pages

    def close(self) -> None:
        self._encoder.close()
        self.runner.close()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> VisionOracle:
    return VisionOracle(tmp_path_factory.mktemp("qwen2_5_vl"))


@pytest.fixture(scope="module")
def shown(oracle: VisionOracle) -> Iterator[Shown]:
    shown = Shown(oracle.folder, num_blocks=1024)
    yield shown
    shown.close()


@pytest.fixture
def seen_logits(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Whatever the sampler was given, one entry a step."""
    seen: list[Tensor] = []

    def sample_and_remember(logits: Tensor, rows: Any) -> Any:
        seen.append(logits.clone())
        return sample(logits, rows)

    monkeypatch.setattr(model_runner, "sample", sample_and_remember)
    return seen


def pictures(parts: Parts) -> list[Image.Image]:
    return [part for part in parts if isinstance(part, Image.Image)]


@pytest.fixture(params=PROMPTS)
def parts(request: pytest.FixtureRequest) -> Parts:
    return PROMPTS[request.param]


@pytest.mark.parametrize("chunk", [10**6, 7])
async def test_logits_of_a_prompt_and_of_what_is_decoded_after_it_match(
    oracle: VisionOracle, shown: Shown, seen_logits: list[Tensor], parts: Parts, chunk: int
) -> None:
    sequence = await shown.sequence(parts)
    output = await shown.driver.generate([sequence], NUM_NEW_TOKENS, chunk)
    assert output == [oracle.generate(sequence.request.prompt_token_ids, pictures(parts), NUM_NEW_TOKENS)]
    num_prompt_tokens = len(sequence.request.prompt_token_ids)
    expected = oracle.logits(sequence.token_ids[:-1], pictures(parts))[num_prompt_tokens - 1 :]
    torch.testing.assert_close(torch.cat(seen_logits), expected, atol=TOLERANCE, rtol=0)


async def test_greedy_tokens_of_a_mixed_batch_in_chunks_match(oracle: VisionOracle, shown: Shown) -> None:
    sequences = [await shown.sequence(parts) for parts in PROMPTS.values()]
    outputs = await shown.driver.generate(sequences, NUM_NEW_TOKENS, chunk=13)
    assert outputs == [
        oracle.generate(sequence.request.prompt_token_ids, pictures(parts), NUM_NEW_TOKENS)
        for sequence, parts in zip(sequences, PROMPTS.values(), strict=True)
    ]


@pytest.mark.parametrize("num_shared", [32, 64])  # up to within the first image, and within the second
async def test_a_prompt_that_shares_blocks_with_another_up_to_an_image_matches(
    oracle: VisionOracle, shown: Shown, num_shared: int
) -> None:
    prefix: Parts = [[10], LARGE, range(20, 30), HIGH]
    first = await shown.sequence([*prefix, [50, 51]])
    await shown.driver.generate([first], NUM_NEW_TOKENS)
    parts: Parts = [*prefix, [60, 61, 62]]
    second = await shown.sequence(parts)
    assert first.token_ids[:num_shared] == second.token_ids[:num_shared]
    second.block_ids = first.block_ids[: num_shared // 16]
    second.num_computed_tokens = num_shared
    inside = next(image for image in second.request.images if image.end > num_shared)
    assert inside.start < num_shared
    if inside is second.request.images[1]:
        second.image_block_ids[0] = []  # covered by the prefix: it was never encoded again
    expected = oracle.generate(second.request.prompt_token_ids, pictures(parts), NUM_NEW_TOKENS)
    assert await shown.driver.generate([second], NUM_NEW_TOKENS) == [expected]


async def test_a_worker_without_embeddings_decodes_what_another_computed(oracle: VisionOracle, shown: Shown) -> None:
    parts = PROMPTS["several of mixed sizes"]
    sequence = await shown.sequence(parts)
    await shown.driver.step([(sequence, sequence.num_tokens_to_run)])
    sequence.image_block_ids = []
    expected = oracle.generate(sequence.request.prompt_token_ids, pictures(parts), NUM_NEW_TOKENS)
    assert await shown.driver.generate([sequence], NUM_NEW_TOKENS) == [expected]


async def test_a_pass_that_is_paused_between_layers_goes_on_with_its_images(
    oracle: VisionOracle, shown: Shown, seen_logits: list[Tensor]
) -> None:
    parts = PROMPTS["middle"]
    sequence, other = await shown.sequence(parts), await shown.sequence(PROMPTS["last"])
    sequence.block_ids, other.block_ids = list(range(900, 920)), list(range(920, 940))
    gate, num_pauses = ClosedGate(), 0
    batch = Batch(0, (ScheduledSequence(sequence, 0, sequence.num_tokens),))
    while not (await shown.runner.execute(batch, None, gate)).tokens:
        await shown.runner.execute(Batch(1, (ScheduledSequence(other, 0, other.num_tokens),)))
        num_pauses += 1
    assert num_pauses == shown.runner.kv.layout.num_layers - 1
    expected = oracle.logits(sequence.token_ids, pictures(parts))[-1:]
    torch.testing.assert_close(seen_logits[-1], expected, atol=TOLERANCE, rtol=0)


@pytest.fixture
def names_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    read = Checkpoint.tensor

    def read_and_remember(checkpoint: Checkpoint, name: str) -> Tensor:
        names.append(name)
        return read(checkpoint, name)

    monkeypatch.setattr(Checkpoint, "tensor", read_and_remember)
    return names


async def test_each_side_reads_only_its_own_weights(oracle: VisionOracle, names_read: list[str]) -> None:
    build_image_encoder(EngineOptions(oracle.folder, device="cpu")).close()
    of_encoder = set(names_read)
    names_read.clear()
    model_runner.build(EngineOptions(oracle.folder, device="cpu", num_blocks=4)).close()
    assert of_encoder and set(names_read) and of_encoder.isdisjoint(names_read)
    assert of_encoder | set(names_read) == Checkpoint(oracle.folder).names


def rename_as_transformers_5(folder: Path) -> None:
    names = {"model.": "model.language_model.", "visual.": "model.visual."}
    weights = load_file(folder / "model.safetensors")
    for name in list(weights):
        for old, new in names.items():
            if name.startswith(old):
                weights[new + name.removeprefix(old)] = weights.pop(name)
                break
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_config_as_released(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    text |= {
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        "torch_dtype": config.pop("dtype"),
    }
    vision = config["vision_config"]
    vision["in_chans"] = vision.pop("in_channels")
    del vision["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(text | config))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))


@pytest.mark.parametrize("respell", [rename_as_transformers_5, write_config_as_released])
@pytest.mark.parametrize("is_tied", [False, True])
async def test_every_spelling_of_a_folder_matches(tmp_path: Path, respell: Any, is_tied: bool) -> None:
    oracle = VisionOracle(tmp_path, tie_word_embeddings=is_tied)
    respell(tmp_path)
    shown = Shown(tmp_path)
    parts = PROMPTS["several of mixed sizes"]
    sequence = await shown.sequence(parts)
    output = await shown.driver.generate([sequence], NUM_NEW_TOKENS)
    shown.close()
    assert output == [oracle.generate(sequence.request.prompt_token_ids, pictures(parts), NUM_NEW_TOKENS)]


async def test_sharded_checkpoints_with_stretched_rope_match(tmp_path: Path) -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1000.0}
    oracle = VisionOracle(tmp_path, max_shard_size="60KB", rope_parameters=rope | {"mrope_section": [2, 2, 2]})
    assert not (tmp_path / "model.safetensors").exists()
    shown = Shown(tmp_path)
    parts = PROMPTS["several of mixed sizes"]
    sequence = await shown.sequence(parts)
    output = await shown.driver.generate([sequence], NUM_NEW_TOKENS)
    shown.close()
    assert output == [oracle.generate(sequence.request.prompt_token_ids, pictures(parts), NUM_NEW_TOKENS)]
