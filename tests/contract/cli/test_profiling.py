"""Profiling what is no Penstock gateway."""

import time

import pytest

from penstock.cli.profiling import ProfilePoints, Profiler
from penstock.core.errors import InvalidSettings
from penstock_loadgen.endpoint import EndpointSpec
from tests.fake_openai_server import MODEL, serving


async def test_a_server_without_stages_is_a_sentence_and_is_asked_with_the_key() -> None:
    async with serving() as server:
        profiler = Profiler(EndpointSpec(f"http://127.0.0.1:{server.port}", "secret", MODEL), time.monotonic)
        with pytest.raises(InvalidSettings, match=r"gives no /metrics .*, unlike a Penstock gateway"):
            await profiler.measure(ProfilePoints())
        profiler.close()
    assert {headers["authorization"] for headers in server.headers} == {"Bearer secret"}
