"""The built-in model on a GPU: the same greedy tokens as on the CPU, with its KV in the pool that transfers read."""

from pathlib import Path

import numpy as np
import pytest

from penstock.engine.model_runner import build
from penstock.engine.options import EngineOptions
from penstock.engine.tiny.checkpoint import make_tiny_checkpoint
from tests.integration.drive_runner import Driver

PROMPTS = [list(range(10, 10 + length)) for length in (1, 16, 33, 70)]


@pytest.mark.gpu
async def test_the_gpu_continues_as_the_cpu_does(tmp_path: Path) -> None:
    folder = make_tiny_checkpoint(tmp_path)
    outputs = []
    for device in ("cpu", "cuda"):
        runner = build(EngineOptions(folder, device=device, num_blocks=64))
        driver = Driver(runner, shuffle_seed=1)
        reported: list[range] = []
        first = driver.sequence(PROMPTS[-1])
        await driver.step([(first, 70)], reported.append)
        pool = np.frombuffer(runner.kv.view, np.float32).reshape(4, 2, 64, -1)
        assert pool[:, :, first.block_ids[0]].any(axis=-1).all()  # every layer's K and V are there for a transfer
        del pool
        outputs.append(await driver.generate([driver.sequence(prompt) for prompt in PROMPTS], 20, chunk=20))
        runner.close()
    assert outputs[0] == outputs[1]
