"""What is asked of an endpoint before a run, and how it is reached."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.core.errors import InternalError, InvalidSettings, WorkerLost
from penstock_loadgen.endpoint import EndpointSpec, calibrate, served_model
from penstock_loadgen.http_client import StreamingClient
from tests.contract.loadgen.conftest import Serve
from tests.fake_openai_server import MODEL, NUM_FRAME_TOKENS, TOKENS_PER_WORD, Script


@asynccontextmanager
async def client_of(spec: EndpointSpec) -> AsyncIterator[StreamingClient]:
    client = spec.client(time.monotonic)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_urls_may_end_as_people_end_them(serve: Serve, suffix: str) -> None:
    server = await serve(Script())
    spec = EndpointSpec(f"http://127.0.0.1:{server.port}{suffix}")
    async with client_of(spec) as client:
        assert await served_model(spec, client) == MODEL


async def test_the_length_of_tokens_is_measured(serve: Serve) -> None:
    server = await serve(Script())
    spec = EndpointSpec(f"http://127.0.0.1:{server.port}")
    async with client_of(spec) as client:
        found = await calibrate(spec, client, MODEL)
    assert (found.tokens_per_word, found.num_frame_tokens) == (TOKENS_PER_WORD, NUM_FRAME_TOKENS)


async def test_nobody_there_is_said_in_a_sentence() -> None:
    spec = EndpointSpec("http://127.0.0.1:9")
    async with client_of(spec) as client:
        with pytest.raises(WorkerLost, match=r"Nothing answers at http://127.0.0.1:9"):
            await served_model(spec, client)


async def test_another_kind_of_server_is_said_in_a_sentence(serve: Serve) -> None:
    server = await serve(Script())
    spec = EndpointSpec(f"http://127.0.0.1:{server.port}/elsewhere")
    async with client_of(spec) as client:
        with pytest.raises(InternalError, match=r"status 404: no /elsewhere/v1/models\.$"):
            await served_model(spec, client)


async def test_a_connection_that_the_server_closed_meanwhile_is_no_failure(serve: Serve) -> None:
    server = await serve(Script())
    async with client_of(EndpointSpec(f"http://127.0.0.1:{server.port}")) as client:
        assert (await client.get("/v1/models")).is_success
        server.close_after_next_request = True  # as a server whose keep-alive ends just then
        answer = await client.get("/v1/models")
    assert answer.is_success, answer.error


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="url"):
        EndpointSpec(url)
