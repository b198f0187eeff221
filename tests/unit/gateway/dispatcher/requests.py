"""Requests, what an undisturbed engine answers, and a reader.

The engine is deterministic in the whole context: a token drawn after a lost, repeated or changed one differs.
"""

import zlib
from collections.abc import Sequence
from typing import Any

from penstock.core.types import (
    Request,
    SamplingParams,
)
from penstock.gateway.generation import Generation


def expected_tokens(request: Request) -> list[int]:
    """What an undisturbed engine would say."""
    context = list(request.prompt_token_ids)
    for _ in range(request.sampling.max_tokens):
        context.append(draw(context, request.sampling.seed))
    return context[len(request.prompt_token_ids) :]


def draw(context: Sequence[int], seed: int) -> int:
    return zlib.crc32(repr((seed, list(context))).encode()) % 50_000


def make_request(name: str = "r0", max_tokens: int = 8, num_prompt: int = 40, **fields: Any) -> Request:
    prompt = [zlib.crc32(f"{name}{index}".encode()) % 1000 for index in range(num_prompt)]
    return Request(name, 0, "", 0, prompt, SamplingParams(max_tokens=max_tokens, seed=11), **fields)


async def read(generation: Generation) -> list[int]:
    """Every token, until the end."""
    token_ids: list[int] = []
    while tokens := await generation.next_tokens():
        token_ids.extend(token.token_id for token in tokens)
    return token_ids
