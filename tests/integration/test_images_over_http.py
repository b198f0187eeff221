"""Greedy answers about pictures through HTTP are those of transformers, wherever the pictures are encoded."""

import asyncio
import contextlib
from dataclasses import replace
from itertools import count
from typing import Any

import httpx
import pytest
from PIL import Image

from penstock.core.errors import WorkerLost
from penstock.wire.control_messages import Holdings
from tests.integration.image_models import VisionOracle, picture, png, served_oracle
from tests.integration.system import System, running_group, running_system
from tests.integration.test_tokens_over_http import TRANSPORT_FLAGS, transports_in_use
from tests.seeing_gateway import data_url, image_part, text_part, user

NUM_TOKENS = 8
SMALL, WIDE, HIGH = picture(60, 60), picture(190, 60, 1), picture(60, 150, 2)
ASKED: list[list[Image.Image | str]] = [
    ["What is this?"],
    [SMALL, "What is this?"],
    ["What is this?", WIDE],
    ["Compare ", SMALL, " with ", HIGH, " and ", SMALL, "."],
    [WIDE, HIGH],
]
_group_numbers = count()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> VisionOracle:
    """A folder that workers and gateways can serve."""
    return served_oracle(tmp_path_factory.mktemp("models") / "seeing")


def message(parts: list[Image.Image | str]) -> dict[str, Any]:
    return user(*(text_part(it) if isinstance(it, str) else image_part(data_url(png(it))) for it in parts))


async def answer(client: httpx.AsyncClient, parts: list[Image.Image | str]) -> list[int]:
    body = {
        "model": "seeing",
        "messages": [message(parts)],
        "max_tokens": NUM_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    response = await client.post("/v1/chat/completions", json=body)
    assert response.is_success, response.text
    token_ids: list[int] = response.json()["choices"][0]["token_ids"]
    return token_ids


async def expected(client: httpx.AsyncClient, oracle: VisionOracle, parts: list[Image.Image | str]) -> list[int]:
    prompt = (await client.post("/tokenize", json={"messages": [message(parts)]})).json()["tokens"]
    return oracle.generate(prompt, [it for it in parts if isinstance(it, Image.Image)], NUM_TOKENS)


@pytest.mark.parametrize("transport", TRANSPORT_FLAGS)
@pytest.mark.timeout(180)
async def test_pictures_are_seen_as_by_transformers(
    scheduler_address: str, oracle: VisionOracle, transport: str
) -> None:
    flags = (*TRANSPORT_FLAGS[transport], "--num-blocks=128", "--max-batch-tokens=32", "--device=cpu")
    name = f"images-{next(_group_numbers)}"
    async with running_group(scheduler_address, name, oracle.folder, *flags) as client:
        wanted = [await expected(client, oracle, parts) for parts in ASKED]
        at_once = await asyncio.gather(*(answer(client, parts) for parts in ASKED))
        assert at_once == wanted
        assert [await answer(client, parts) for parts in reversed(ASKED)] == wanted[::-1]  # from what is cached
        async with asyncio.timeout(5):
            while await transports_in_use(client) != {transport}:
                await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_a_mixed_worker_does_all_of_it(oracle: VisionOracle) -> None:
    flags = ("--mixed=1", f"--model={oracle.folder}", "--num-blocks=64", "--device=cpu", "--max-batch-tokens=32")
    async with (
        running_system(*flags) as system,
        httpx.AsyncClient(base_url=system.url, timeout=60.0, trust_env=False) as client,
    ):
        wanted = [await expected(client, oracle, parts) for parts in ASKED]
        for _ in range(3):
            assert await asyncio.gather(*(answer(client, parts) for parts in ASKED)) == wanted
        await until_all_is_given_back(system)


@pytest.mark.parametrize("transport", TRANSPORT_FLAGS)
@pytest.mark.timeout(180)
async def test_pictures_are_seen_the_same_by_encoders_of_their_own(oracle: VisionOracle, transport: str) -> None:
    flags = ("--encoder=2", f"--model={oracle.folder}", "--num-blocks=128", "--device=cpu", "--max-batch-tokens=64")
    async with (
        running_system(*flags, *TRANSPORT_FLAGS[transport]) as system,
        httpx.AsyncClient(base_url=system.url, timeout=60.0, trust_env=False) as client,
    ):
        await system.wait_for_workers(4)
        wanted = [await expected(client, oracle, parts) for parts in ASKED]
        assert await asyncio.gather(*(answer(client, parts) for parts in ASKED)) == wanted
        assert await until_all_is_given_back(system) == {"decode-0", "encoder-0", "encoder-1", "prefill-0"}
        async with asyncio.timeout(5):
            while transport not in (await system.workers())["encoder-0"]["transports"].values():
                await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_a_request_outlives_every_worker_it_has(oracle: VisionOracle) -> None:
    """On the mock engine, which draws other tokens as soon as one embedding is not what it was."""
    slow = "--mock-costs=encode_s=0.6,encode_s_per_patch=0,decode_s=0.1"
    flags = ("--engine=mock", slow, "--encoder=2", "--prefill=2", "--decode=2", f"--model={oracle.folder}")
    async with (
        running_system(*flags) as system,
        httpx.AsyncClient(base_url=system.url, timeout=60.0, trust_env=False) as client,
    ):
        await system.wait_for_workers(6)
        wanted = await answer(client, [SMALL, WIDE, "What is this?"])
        for number, victim in enumerate(("encoder-0", "encoder-1", "prefill-0", "prefill-1", "decode-0", "decode-1")):
            await system.wait_for_workers(6)
            unseen = [picture(60, 60, 10 * number + seed) for seed in range(10, 14)]
            asked: list[list[Image.Image | str]] = [[SMALL, WIDE, "What is this?"]]
            asked += [[image, "What is this?"] for image in unseen]
            answers = [asyncio.create_task(answer(client, parts)) for parts in asked]
            await asyncio.sleep(1.2 if victim.startswith("decode") else 0.3)
            system.kill(victim)
            first, *others = await asyncio.gather(*answers)
            assert first == wanted
            assert others == await asyncio.gather(*(answer(client, parts) for parts in asked[1:]))
            await until_all_is_given_back(system)


@pytest.mark.parametrize("encoders", [(), ("--encoder=1",)])
@pytest.mark.timeout(180)
async def test_clients_that_leave_take_their_images_along(oracle: VisionOracle, encoders: tuple[str, ...]) -> None:
    slow = "--mock-costs=encode_s=0.3,encode_s_per_patch=0"
    async with (
        running_system("--engine=mock", slow, f"--model={oracle.folder}", *encoders) as system,
        httpx.AsyncClient(base_url=system.url, timeout=60.0, trust_env=False) as client,
    ):
        await system.wait_for_workers(2 + len(encoders))
        for delay_s in (0.0, 0.05, 0.2, 0.35):
            unseen = [picture(60, 60, round(1000 * delay_s) + seed) for seed in range(40)]
            asked = [asyncio.create_task(answer(client, [image, "What is this?"])) for image in unseen]
            await asyncio.sleep(delay_s)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            await until_all_is_given_back(system)
        assert len(await answer(client, [SMALL, "What is this?"])) == NUM_TOKENS


async def until_all_is_given_back(system: System) -> set[str]:
    """The workers, once none of them holds anything."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(WorkerLost):  # one that is being started again
                held = await system.holdings()
                if all(replace(holdings, num_open_files=0) == Holdings() for holdings in held.values()):
                    return set(held)
            await asyncio.sleep(0.1)
