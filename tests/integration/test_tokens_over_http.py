"""Greedy tokens through HTTP, with the KV moved between two processes, are those of transformers."""

import asyncio
import random
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.engine.tiny.tokenizer import VOCAB_SIZE
from tests.integration.checkpoints import ARCHITECTURES, greedy, make_checkpoint
from tests.integration.system import complete, running_group

NUM_TOKENS = 12
PROMPT_LENGTHS = (1, 2, 15, 16, 17, 31, 32, 33, 47, 64, 100, 129)  # block boundaries, one beside, odd ones
TRANSPORT_FLAGS = {
    "shared_memory": ("--transports=shared_memory",),
    "ucx": ("--transports=ucx",),
    "tcp": ("--transports=tcp", "--allow-tcp"),
}
CHUNKED, WHOLE = 48, 2048  # tokens a step may run
_group_numbers = count()


def prompts(seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, VOCAB_SIZE) for _ in range(length)] for length in PROMPT_LENGTHS]


async def completed_tokens(client: httpx.AsyncClient, prompt: list[int]) -> tuple[list[int], int]:
    """The tokens of a greedy completion, and how many prompt tokens were found in the prefix cache."""
    answer = await complete(
        client,
        {
            "model": "checkpoint",
            "prompt": prompt,
            "max_tokens": NUM_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
        },
    )
    assert answer["usage"]["completion_tokens"] == NUM_TOKENS
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    token_ids: list[int] = answer["choices"][0]["token_ids"]
    return token_ids, answer["usage"]["prompt_tokens_details"]["cached_tokens"]


async def transports_in_use(client: httpx.AsyncClient) -> set[str]:
    groups: list[dict[str, Any]] = (await client.get("/cluster")).json()["groups"]
    return {transport for group in groups for w in group["workers"] for transport in w["transports"].values()}


async def check(client: httpx.AsyncClient, model: Any, transport: str) -> None:
    """All prompts at once as one mixed batch, then again one by one on a warm prefix cache."""
    expected = [greedy(model, prompt, NUM_TOKENS) for prompt in prompts(seed=1)]
    cold = await asyncio.gather(*(completed_tokens(client, prompt) for prompt in prompts(seed=1)))
    assert [tokens for tokens, _ in cold] == expected
    for prompt, tokens in zip(prompts(seed=1), expected, strict=True):
        warm, num_cached_tokens = await completed_tokens(client, prompt)
        assert warm == tokens
        assert num_cached_tokens == (len(prompt) - 1) // 16 * 16
    async with asyncio.timeout(5):
        while await transports_in_use(client) != {transport}:
            await asyncio.sleep(0.1)


CASES = [
    *((architecture, "shared_memory", WHOLE) for architecture in ARCHITECTURES),
    *((architecture, "ucx", CHUNKED) for architecture in ARCHITECTURES),
    *((architecture, "tcp", CHUNKED) for architecture in ARCHITECTURES),
    ("llama3", "shared_memory", CHUNKED),
    ("llama3", "ucx", WHOLE),
    ("llama3", "tcp", WHOLE),
]


@pytest.mark.parametrize(("architecture", "transport", "max_batch_tokens"), CASES)
async def test_tokens_equal_those_of_transformers(
    architecture: str, transport: str, max_batch_tokens: int, scheduler_address: str, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    model = make_checkpoint(architecture, folder)
    flags = (*TRANSPORT_FLAGS[transport], f"--max-batch-tokens={max_batch_tokens}", "--kv-memory-bytes=64MiB")
    async with running_group(scheduler_address, f"g{next(_group_numbers)}", folder, *flags) as client:
        await check(client, model, transport)
