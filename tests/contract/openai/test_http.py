"""What a hostile or clumsy HTTP client may send."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.gateway.api import live
from tests.contract.openai.conftest import Serve, Served
from tests.gateway_fakes import FakeDispatcher, chat

CHAT = "/v1/chat/completions"


async def test_a_huge_body_is_413_and_the_connection_survives(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher())

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    for content in (b" " * 300_000, chunks()):
        response = await served.http.post(CHAT, content=content)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"
    assert (await served.http.post(CHAT, json=chat())).status_code == 200


async def test_bytes_that_are_not_http_do_no_harm(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher())
    port = int(served.url.rsplit(":", 1)[1])
    for raw in (b"\x00\xff\r\n\r\n", b"POST " + CHAT.encode() + b" HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"GET"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5) if raw != b"GET" else b""
        writer.close()
        await writer.wait_closed()
        assert answer == b"" or b"400" in answer.split(b"\r\n")[0]
    assert (await served.http.get("/health")).status_code == 200


async def test_a_client_that_leaves_while_sending_does_no_harm(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher())
    port = int(served.url.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await served.http.get("/health")).status_code == 200
    assert not served.dispatcher.requests


async def test_requests_on_one_connection_are_answered_in_order(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher("first"))
    port = int(served.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    answers = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answers.index(b'"status"') < answers.index(b'"object"')


async def test_an_upgrade_nobody_offers_is_ignored(serve: Serve) -> None:
    served: Served = await serve(FakeDispatcher())
    headers = {"connection": "upgrade", "upgrade": "websocket"}
    assert (await served.http.get("/health", headers=headers)).status_code == 200


async def test_a_viewer_of_the_feed_does_not_hold_the_gateways_stop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL_S", 0.01)
    served: Served = await serve(FakeDispatcher())
    async with served.http.stream("GET", live.PATH) as answer:
        pieces = answer.aiter_bytes()
        body = await anext(pieces)
        served.stop.set()
        body += b"".join([piece async for piece in pieces])
    events = body.decode().split("\n\n")
    assert events.pop() == ""
    assert events[-1].startswith("event: ")  # not the error that an answer cut off ends with
