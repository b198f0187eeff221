"""What is sampled depends on prompt, seed and position alone: not on the company in the batch, nor on the workers."""

import asyncio
from typing import Any

import httpx

from tests.integration.system import complete, running_system

PROMPT = "The miller opened the sluice and"
SAMPLED = (
    {"seed": 1, "temperature": 1.0},
    {"seed": 2, "temperature": 0.8, "top_p": 0.9, "top_k": 50},
    {"seed": 3, "temperature": 1.2, "min_p": 0.02, "presence_penalty": 0.6, "frequency_penalty": 0.3},
    {"seed": 4, "temperature": 1.0, "repetition_penalty": 1.2, "logit_bias": {"40": 5.0}, "min_tokens": 20},
)


def body(**options: Any) -> dict[str, Any]:
    common = {"model": "penstock-tiny", "prompt": PROMPT, "max_tokens": 60, "ignore_eos": True}
    return {**common, "return_token_ids": True, **options}


async def token_ids(client: httpx.AsyncClient, options: dict[str, Any]) -> list[int]:
    choice = (await complete(client, body(**options)))["choices"][0]
    ids: list[int] = choice["token_ids"]
    assert len(ids) == 60
    return ids


async def busy(client: httpx.AsyncClient, is_over: asyncio.Event, seed: int) -> None:
    while not is_over.is_set():
        await complete(client, body(prompt=f"{seed} other streams " * 3, seed=seed, max_tokens=40))


async def test_a_seed_fixes_the_tokens_alone_in_company_and_on_other_workers() -> None:
    async with (
        running_system("--prefill=2", "--decode=2", "--kv-memory-bytes=64MiB") as system,
        httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=60) as client,
        asyncio.timeout(90),
    ):
        await system.wait_for_workers(4)
        alone = [await token_ids(client, options) for options in SAMPLED]
        assert len({tuple(tokens) for tokens in alone}) == len(SAMPLED)

        is_over = asyncio.Event()
        company = [asyncio.create_task(busy(client, is_over, seed)) for seed in range(20)]
        together = await asyncio.gather(*(token_ids(client, options) for options in SAMPLED))
        is_over.set()
        await asyncio.gather(*company)
        assert together == alone

        for name in ("prefill-0", "decode-0"):
            system.kill(name)
        assert [await token_ids(client, options) for options in SAMPLED] == alone


async def test_choices_differ_from_each_other_and_repeat_with_their_seed() -> None:
    async with (
        running_system("--kv-memory-bytes=64MiB") as system,
        httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=60) as client,
    ):
        answers = [await complete(client, body(n=3, seed=9, logprobs=2)) for _ in range(2)]
        choices = [[choice["token_ids"] for choice in answer["choices"]] for answer in answers]
        assert choices[0] == choices[1]
        assert len({tuple(tokens) for tokens in choices[0]}) == 3
        assert answers[0]["usage"]["completion_tokens"] == 180
        for choice in answers[0]["choices"]:
            assert len(choice["logprobs"]["token_logprobs"]) == 60  # the first is the prefill worker's
