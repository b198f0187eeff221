"""A real HTTP server on a loopback port, and OpenAI's own client."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from penstock.gateway.api.app import App
from penstock.gateway.process import serve_http
from tests.gateway_fakes import FakeDispatcher, make_service


@dataclass
class Served:
    """A running gateway without workers, and ways to talk to it."""

    url: str
    client: openai.AsyncOpenAI
    http: httpx.AsyncClient
    dispatcher: FakeDispatcher
    stop: asyncio.Event


@asynccontextmanager
async def _serving(dispatcher: FakeDispatcher, api_keys: Iterable[str], **changes: Any) -> AsyncIterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = asyncio.Event()
    app = App(make_service(dispatcher, api_keys, is_stopping=stop.is_set, **changes))
    server = asyncio.create_task(serve_http(app, listener, stop, drain_timeout_s=1.0))
    key = next(iter(api_keys), "none")
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=10)
    async with client, httpx.AsyncClient(base_url=url, timeout=10) as http:
        try:
            yield Served(url, client, http, dispatcher, stop)
        finally:
            stop.set()
    await asyncio.wait_for(server, 10)


Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a gateway that answers with a dispatcher's words; everything is stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(dispatcher: FakeDispatcher, api_keys: Iterable[str] = (), **changes: Any) -> Served:
            return await stack.enter_async_context(_serving(dispatcher, list(api_keys), **changes))

        yield start
