"""The official `openai` client sends images: as data URLs, and as URLs that the gateway fetches."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from penstock.gateway.images.addresses import is_any, is_public
from penstock.gateway.images.fetch import Fetcher
from tests.contract.openai.conftest import Serve, Served
from tests.gateway_fakes import MODEL, FakeDispatcher
from tests.image_files import image_file, picture
from tests.seeing_gateway import data_url, image_part, seeing_changes, text_part, user

FILE = image_file(picture(32, 48), "JPEG")


@pytest.fixture
async def picture_url() -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(FILE) + FILE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/picture.jpg"


async def test_images_inline_and_by_url(serve: Serve, picture_url: str) -> None:
    served: Served = await serve(FakeDispatcher("two"), **seeing_changes(fetcher=Fetcher(is_any)))
    parts = [text_part("How many?"), image_part(data_url(FILE), detail="low"), image_part(picture_url)]
    messages: Any = [user(*parts)]
    answer = await served.client.chat.completions.create(model=MODEL, messages=messages)
    assert answer.choices[0].message.content == "two"
    assert served.dispatcher.files == [[FILE, FILE]]
    (request,) = served.dispatcher.requests
    first, second = request.images
    assert (first.content_hash, first.num_tokens) == (second.content_hash, 6)
    assert answer.usage is not None and answer.usage.prompt_tokens == len(request.prompt_token_ids) > 12
    stream = await served.client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "two"


async def test_a_url_of_the_local_network_is_fetched_only_if_that_is_allowed(serve: Serve, picture_url: str) -> None:
    served: Served = await serve(FakeDispatcher(), **seeing_changes(fetcher=Fetcher(is_public)))
    messages: Any = [user(image_part(picture_url))]
    with pytest.raises(openai.BadRequestError, match="no public web server") as raised:
        await served.client.chat.completions.create(model=MODEL, messages=messages)
    assert (raised.value.param, raised.value.code) == ("messages[0].content[0].image_url", "invalid_image")


async def test_a_client_that_leaves_while_its_image_is_fetched_is_forgotten(serve: Serve) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began.set()
        await reader.read()  # until the gateway hangs up
        ended.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        served: Served = await serve(FakeDispatcher(), **seeing_changes(fetcher=Fetcher(is_any)))
        messages: Any = [user(image_part(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))]
        asking = asyncio.create_task(served.client.chat.completions.create(model=MODEL, messages=messages))
        await began.wait()
        asking.cancel()
        await asyncio.wait_for(ended.wait(), 5)
    assert not served.dispatcher.requests
