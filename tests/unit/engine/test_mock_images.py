"""The mock engine with images: embeddings that follow from the file, tokens that follow from the embeddings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.core.errors import UnsupportedModel
from penstock.core.images import ImageSpan
from penstock.core.types import Batch, ScheduledSequence, Sequence
from penstock.engine import mock_image_encoder, mock_runner
from penstock.engine.image_encoder import EncodeInput, VisionInfo
from penstock.engine.mock_costs import MockCosts
from penstock.engine.options import EngineOptions
from penstock.transfer.embeddings import write_embeddings
from tests.unit.engine.mock_engine import make_request

COSTS = "encode_s=0,encode_s_per_patch=0,prefill_s=0,prefill_s_per_token=0"
TEXT = {"vocab_size": 999, "max_position_embeddings": 512, "hidden_size": 20}
GRID = (1, 8, 12)
IMAGE = ImageSpan(2, 24, b"", GRID)
PROMPT = [7, 7, *[5] * 24, 8]
PAGES = [3, 1]


@pytest.fixture(params=["nested", "flat"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> EngineOptions:
    config: dict[str, Any] = {"text_config": TEXT} if request.param == "nested" else dict(TEXT)
    (tmp_path / "config.json").write_text(json.dumps(config | {"vision_config": {}}))
    return EngineOptions(tmp_path, num_blocks=16, num_embedding_tokens=64, mock_costs=COSTS)


async def first_token(
    options: EngineOptions, pages: list[int], file: bytes = b"red", chunk: int = 100, change: int = -1
) -> int:
    """change: which byte of the pool is changed before the prompt is run."""
    runner, encoder = mock_runner.build(options), mock_image_encoder.build_image_encoder(options)
    (rows,) = await encoder.encode([EncodeInput(file, GRID)])
    assert rows.shape == (24, encoder.info.hidden_size * encoder.info.element_bytes) == (24, 40)
    assert runner.embeddings is not None
    assert runner.embeddings.layout.slot_bytes * 2 == rows.shape[1]
    write_embeddings(runner.embeddings, PAGES, rows)
    if change >= 0:
        runner.embeddings.pool[change] ^= 1
    sequence = Sequence(make_request(PROMPT, images=(IMAGE,)), list(PROMPT), 0.0, [4, 9], image_block_ids=[pages])
    for start in range(0, len(PROMPT), chunk):
        num_tokens = min(chunk, len(PROMPT) - start)
        output = await runner.execute(Batch(1, (ScheduledSequence(sequence, start, num_tokens),)))
    encoder.close()
    runner.close()
    (token,) = output.tokens
    assert token is not None
    return token.token_id


async def test_tokens_follow_from_what_stands_in_the_pool(options: EngineOptions) -> None:
    token_id = await first_token(options, PAGES)
    assert await first_token(options, PAGES, chunk=5) == token_id
    assert await first_token(options, PAGES, file=b"blue") != token_id
    assert await first_token(options, PAGES[::-1]) != token_id
    half = 64 * 20
    assert await first_token(options, PAGES, change=3 * 16 * 20) != token_id  # K of the first token
    assert await first_token(options, PAGES, change=half + (16 + 7) * 20) != token_id  # V of the last


async def test_encoding_takes_what_its_costs_say() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    info = VisionInfo(8, 2, "bfloat16", "mock", b"")
    cost = MockCosts(encode_s=1, encode_s_per_patch=0.01).encode
    encoder = mock_image_encoder.MockImageEncoder(info, 2, cost, sleep)
    rows = await encoder.encode([EncodeInput(b"a", (1, 4, 4)), EncodeInput(b"b", (1, 2, 2))])
    assert slept == [pytest.approx(1.2)]
    assert [of_image.shape for of_image in rows] == [(4, 16), (1, 16)]
    assert len(np.unique(rows[0], axis=0)) == 4


def test_a_mock_of_a_model_without_images_has_no_pool_for_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TEXT))
    runner = mock_runner.build(EngineOptions(tmp_path, num_blocks=4))
    assert runner.embeddings is None
    runner.close()
    with pytest.raises(UnsupportedModel, match="vision_config"):
        mock_image_encoder.build_image_encoder(EngineOptions(tmp_path))


def test_embeddings_of_no_known_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TEXT | {"hidden_size": 7, "vision_config": {}}))
    with pytest.raises(UnsupportedModel, match="hidden_size=7"):
        mock_image_encoder.build_image_encoder(EngineOptions(tmp_path))
