"""The whole gateway process, before anything else of the system is there."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from penstock.cli.ports import free_port
from penstock.core.errors import InvalidSettings
from penstock.gateway.process import serve as serve_gateway
from penstock.runtime.settings import GatewaySettings
from tests.gateway_fakes import TEMPLATE, byte_level_tokenizer
from tests.image_files import image_file, picture
from tests.seeing_gateway import TEMPLATE as SEEING_TEMPLATE
from tests.seeing_gateway import data_url, image_part, placeholder_id, seeing_vocabulary, user


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    byte_level_tokenizer().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def settings(folder: Path, port: int) -> GatewaySettings:
    nobody = f"127.0.0.1:{free_port()}"
    return GatewaySettings(
        port=port, model=str(folder), served_model_name="m", scheduler_address=nobody, drain_timeout_s=1
    )


async def until_it_answers(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await http.get("/health")).status_code == 200
                return
            except httpx.ConnectError:
                await asyncio.sleep(0.02)


async def test_it_lives_but_is_not_ready_without_workers_and_stops_when_told(folder: Path) -> None:
    port, stop = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve_gateway(settings(folder, port), stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        await until_it_answers(http)
        assert (await http.get("/ready")).status_code == 503
        assert (await http.get("/cluster")).json()["groups"] == []
        assert 'vllm:num_requests_running{model_name="m"} 0.0' in (await http.get("/metrics")).text
    stop.set()
    assert await asyncio.wait_for(serving, 10) == 0


async def test_of_a_model_that_sees_it_reads_images(folder: Path) -> None:
    config = {
        "max_position_embeddings": 64,
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "image_token_id": placeholder_id(),
        "vision_config": {"patch_size": 14, "spatial_merge_size": 2},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 784, "max_pixels": 10**6}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": SEEING_TEMPLATE}))
    seeing_vocabulary().save(str(folder / "tokenizer.json"))
    port, stop = free_port(), asyncio.Event()
    chosen = replace(settings(folder, port), max_num_images=1, image_urls="none")
    serving = asyncio.create_task(serve_gateway(chosen, stop))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        await until_it_answers(http)
        image = image_part(data_url(image_file(picture(84, 56))))
        counted = (await http.post("/tokenize", json={"messages": [user(image)]})).json()
        assert counted["tokens"].count(placeholder_id()) == 3 * 2
        for parts, sentence in (([image, image], "at most 1"), ([image_part("http://1.1.1.1/")], "fetches no URLs")):
            refused = await http.post("/v1/chat/completions", json={"messages": [user(*parts)]})
            assert refused.status_code == 400 and sentence in refused.json()["error"]["message"]
        assert 'penstock_images_total{outcome="read",source="data"} 1.0' in (await http.get("/metrics")).text
    stop.set()
    assert await asyncio.wait_for(serving, 10) == 0


async def test_a_port_in_use_stops_the_process_with_a_sentence(folder: Path) -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(InvalidSettings, match="port"):
            await serve_gateway(settings(folder, port), asyncio.Event())
