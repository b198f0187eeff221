"""What the chart would run in pods, run here as processes: init container, arguments, variables, probes, test pod."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from penstock.cli.ports import free_port
from tests.charts.rendering import NAME, Manifest, Rendered, file_values, merged, render
from tests.integration.system import START_TIMEOUT_S

WORKLOADS = {
    ("StatefulSet", "scheduler"): "127.0.0.1",
    ("Deployment", "prefill"): "127.0.0.2",
    ("Deployment", "decode"): "127.0.0.3",
    ("Deployment", "gateway"): "127.0.0.1",
}
"""Each with an address that stands for its pod's."""


class Node:
    """One folder in place of the mounts, and the processes that would be containers."""

    def __init__(self, rendered: Rendered, folder: Path) -> None:
        self._rendered = rendered
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def run_init(self, kind: str, name: str) -> None:
        """The init container, to its end."""
        (container,) = self._rendered.pod(kind, name)["initContainers"]
        command = self._here(container["command"], {})
        subprocess.run(command, env=self._environment(container, {}), check=True, timeout=START_TIMEOUT_S)

    def start(self, kind: str, name: str, address: str) -> None:
        container = self._rendered.container(kind, name)
        pod = {"POD_IP": address, "POD_NAME": f"{name}-0", "POD_NAMESPACE": "serving"}
        self._write_settings(container["args"][0])
        command = ["penstock", *self._here(container["args"], pod)]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                command, env=self._environment(container, pod), stdout=log, stderr=log
            )

    def run_test_pod(self) -> str:
        """What `helm test` would print."""
        (container,) = self._rendered.get("Pod", "test-chat")["spec"]["containers"]
        command = self._here([*container["command"], *container["args"]], {})
        done = subprocess.run(
            command, env=self._environment(container, {}), check=True, timeout=60, stdout=subprocess.PIPE
        )
        return done.stdout.decode()

    async def wait_for_probes(self, kind: str, name: str, address: str) -> None:
        """As the kubelet would: the startup probe, then the readiness probe, until they succeed."""
        container = self._rendered.container(kind, name)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(START_TIMEOUT_S):
            for probe in (container["startupProbe"]["httpGet"], container["readinessProbe"]["httpGet"]):
                url = f"http://{address}:{ports[probe['port']]}{probe['path']}"
                while not await _is_success(client, url):
                    assert self._processes[name].poll() is None, self.log(name)
                    await asyncio.sleep(0.1)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()[-10_000:]

    def stop(self) -> None:
        """SIGTERM to all, and the exit statuses must say that each left in order."""
        for process in reversed(self._processes.values()):
            process.terminate()
        statuses = {name: process.wait(timeout=30) for name, process in self._processes.items()}
        assert set(statuses.values()) == {0}, statuses

    def _write_settings(self, process: str) -> None:
        folder = self._folder / process
        folder.mkdir(exist_ok=True)
        (folder / "settings.yaml").write_text(self._rendered.get("ConfigMap", "settings")["data"][f"{process}.yaml"])

    def _here(self, command: list[str], pod: Mapping[str, str]) -> list[str]:
        here = {"/models": f"{self._folder}/models", "/etc/penstock": f"{self._folder}/{command[0]}"}
        names = {f"{NAME}-scheduler": "127.0.0.1", **{f"$({name})": value for name, value in pod.items()}}
        for old, new in {**here, **names}.items():
            command = [part.replace(old, new) for part in command]
        return command

    def _environment(self, container: Manifest, pod: Mapping[str, str]) -> dict[str, str]:
        """The container's variables and nothing of ours, but where programs lie."""
        given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        address = {key: value.replace(f"{NAME}-gateway", "127.0.0.1") for key, value in given.items()}
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        found = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
        home = {"HOME": str(self._folder)}
        return {**found, **address, **pod, **home, "PATH": programs, "OMP_NUM_THREADS": "1"}


async def _is_success(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.TransportError:
        return False


@asynccontextmanager
async def running_node(values: Mapping[str, Any], folder: Path) -> AsyncIterator[Node]:
    node = Node(render(values), folder)
    node.run_init("Deployment", "prefill")
    try:
        for (kind, name), address in WORKLOADS.items():
            node.start(kind, name, address)
        for (kind, name), address in WORKLOADS.items():
            await node.wait_for_probes(kind, name, address)
        yield node
    except BaseException:
        for _, name in WORKLOADS:
            sys.stderr.write(f"--- {name}\n{node.log(name)}\n")
        raise
    finally:
        node.stop()


async def test_what_the_chart_runs_serves_a_streamed_chat_and_leaves_in_order(tmp_path: Path) -> None:
    http, membership, router, status = (free_port() for _ in range(4))
    ports = {
        "gateway": {"port": http, "service": {"port": http}},
        "scheduler": {"port": membership, "routerPort": router, "metricsPort": status},
    }
    async with running_node(merged(file_values("values-cpu.yaml"), ports), tmp_path) as node:
        assert node.run_test_pod().strip()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}", trust_env=False) as client:
            workers = await workers_of(client)
        assert {name: worker["role"] for name, worker in workers.items()} == {
            "prefill-0": "prefill",
            "decode-0": "decode",
        }


async def workers_of(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    (group,) = (await client.get("/cluster")).json()["groups"]
    return {worker["worker_id"]: worker for worker in group["workers"]}
