"""A real Prometheus on a loopback port, scraping a live gateway with the rules that ship, hurried."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from penstock.cli.ports import free_port

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
START_TIMEOUT_S = 20.0


def hurried(rules: dict[str, Any]) -> dict[str, Any]:
    """The same rules, with alerts that wait a second where the shipped ones wait minutes."""
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if "for" in rule:
            rule["for"] = "1s"
    return rules


class Prometheus:
    """Asks it over HTTP."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an instant query; fails on one that Prometheus refuses."""
        answer = (await self._client.get("/api/v1/query", params={"query": expr})).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def rules(self) -> list[dict[str, Any]]:
        groups = (await self._client.get("/api/v1/rules")).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._client.get("/api/v1/targets")).json()["data"]["activeTargets"]
        return found

    async def is_ready(self) -> bool:
        try:
            return (await self._client.get("/-/ready")).is_success
        except httpx.TransportError:
            return False


@asynccontextmanager
async def running_prometheus(gateway_port: int, folder: Path) -> AsyncIterator[Prometheus]:
    """Started in `folder`, stopped at the end."""
    for name in ("recording.yaml", "alerts.yaml"):
        (folder / name).write_text(yaml.safe_dump(hurried(yaml.safe_load((RULES / name).read_text()))))
    config = yaml.safe_load((RULES / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["http_sd_configs"] = [
        {"url": f"http://127.0.0.1:{gateway_port}/cluster/targets", "refresh_interval": "1s"}
    ]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    binary = shutil.which("prometheus")
    assert binary is not None, "whoever asks for it has made sure that it is there"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20.0) as client:
            prometheus = Prometheus(client)
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await prometheus.is_ready():
                    assert process.poll() is None, (folder / "log").read_text()
                    await asyncio.sleep(0.1)
            yield prometheus
    finally:
        process.terminate()
        process.wait(timeout=20)
