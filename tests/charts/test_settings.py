"""What the chart tells a process, it understands: every flag, variable and line of a settings file is loaded."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.cli.main import COMMANDS
from tests.charts.cases import CASES, EVERYTHING_ON
from tests.charts.rendering import NAME, Manifest, Rendered, render
from tests.commands import SETTINGS, load_command

POD = {"POD_NAME": "pod-0", "POD_IP": "10.0.0.7", "POD_NAMESPACE": "serving"}


def processes(rendered: Rendered) -> Iterator[tuple[str, Manifest]]:
    """Each container that runs one of our processes, with its pod's template."""
    for _, template in rendered.pods():
        for container in template["spec"]["containers"]:
            if container.get("args", [""])[0] in SETTINGS:
                yield container["args"][0], container


def load_as_pod(rendered: Rendered, container: Manifest, folder: Path) -> Any:
    """The settings that the process would have: Kubernetes puts $(NAME) in, the volume holds the file."""
    process, command = container["args"][0], container["args"]
    for name, value in POD.items():
        command = [argument.replace(f"$({name})", value) for argument in command]
    file = folder / "settings.yaml"
    file.write_text(rendered.get("ConfigMap", "settings")["data"][f"{process}.yaml"])
    variables = {entry["name"]: entry.get("value", "from-a-secret") for entry in container["env"]}
    known = {f"PENSTOCK_{field.name.upper()}" for field in fields(SETTINGS[process])}
    assert {name for name in variables if name.startswith("PENSTOCK_")} <= known
    return load_command(command, variables, {Path("/etc/penstock/settings.yaml"): file})


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_every_process_of_every_deployment_loads_its_settings(values: dict[str, Any], tmp_path: Path) -> None:
    rendered = render(values)
    loaded = [load_as_pod(rendered, container, tmp_path) for _, container in processes(rendered)]
    assert len(loaded) == 2 + len(values.get("pools", [1, 2]))
    assert all(argument in COMMANDS for argument, _ in processes(rendered))


def test_processes_find_each_other(tmp_path: Path) -> None:
    rendered = render()
    by_process = {name: load_as_pod(rendered, found, tmp_path) for name, found in processes(rendered)}
    gateway, scheduler, worker = (by_process[name] for name in ("gateway", "scheduler", "worker"))
    service = rendered.get("Service", "scheduler")
    address = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert gateway.scheduler_address == worker.scheduler_address == address
    assert scheduler.address.endswith(f":{service['spec']['ports'][0]['port']}")
    assert (gateway.gateway_id, worker.worker_id) == ("pod-0", "pod-0")
    assert (worker.address, worker.metrics_address) == ("10.0.0.7:9000", "10.0.0.7:9400")
    assert gateway.group == worker.group and worker.group in scheduler.groups


def test_all_workers_share_a_file_and_a_pool_says_only_what_differs(tmp_path: Path) -> None:
    pools = [
        {"name": "plain", "role": "decode", "replicas": 1},
        {
            "name": "wide",
            "role": "decode",
            "replicas": 1,
            "settings": {"maxNumSequences": 512, "transports": ["ucx", "tcp"]},
        },
    ]
    rendered = render({"poolDefaults": {"settings": {"kvMemoryBytes": "2GiB", "allowTcp": True}}, "pools": pools})
    plain, wide = (
        load_as_pod(rendered, rendered.container("Deployment", name), tmp_path) for name in ("plain", "wide")
    )
    assert (plain.kv_memory_bytes, plain.allow_tcp, plain.max_num_sequences) == (2 * 2**30, True, 256)
    assert (wide.kv_memory_bytes, wide.max_num_sequences, wide.transports) == (2 * 2**30, 512, ("ucx", "tcp"))


def test_numbers_survive_the_way_into_the_file(tmp_path: Path) -> None:
    rendered = render({"gateway": {"settings": {"maxQueueS": 0.25, "maxBodyBytes": 33554432, "maxNumQueued": 1000000}}})
    gateway = load_as_pod(rendered, rendered.container("Deployment", "gateway"), tmp_path)
    assert (gateway.max_queue_s, gateway.max_body_bytes, gateway.max_num_queued) == (0.25, 33554432, 1000000)


def test_keys_come_from_a_secret_and_never_stand_in_a_pod(tmp_path: Path) -> None:
    rendered = render({"auth": {"apiKeys": ["first", "second"]}})
    container = rendered.container("Deployment", "gateway")
    (variable,) = (entry for entry in container["env"] if entry["name"] == "PENSTOCK_API_KEYS")
    assert variable["valueFrom"]["secretKeyRef"] == {"name": f"{NAME}-api-keys", "key": "api-keys"}
    gateway = load_as_pod(rendered, container, tmp_path)
    assert gateway.api_keys == ("from-a-secret",)
    assert all("second" not in yaml.safe_dump(found) for found in rendered.manifests if found["kind"] != "Secret")


def test_a_changed_setting_restarts_the_pods_of_its_process_alone() -> None:
    def checksums(values: dict[str, Any]) -> dict[str, str]:
        pods = render(values).pods()
        return {name: pod["metadata"].get("annotations", {}).get("checksum/settings", "") for name, pod in pods}

    before, after = checksums({}), checksums({"gateway": {"settings": {"maxQueueS": 7}}})
    assert [name for name in before if before[name] != after[name]] == [f"Deployment/{NAME}-gateway"]


def test_routers_are_told_an_address_others_reach_whether_ray_has_one_node_or_more(tmp_path: Path) -> None:
    alone = render()
    settings = load_as_pod(alone, alone.container("StatefulSet", "scheduler"), tmp_path)
    assert (settings.ray_address, settings.router_host) == ("local", "10.0.0.7")
    several = render({"scheduler": {"rayWorkers": {"replicas": 1}}})
    settings = load_as_pod(several, several.container("StatefulSet", "scheduler"), tmp_path)
    assert (settings.ray_address, settings.router_host) == ("10.0.0.7:6379", "0.0.0.0")


def test_with_tls_every_process_reads_the_mounted_folder(tmp_path: Path) -> None:
    rendered = render(EVERYTHING_ON)
    for _, container in processes(rendered):
        folder = load_as_pod(rendered, container, tmp_path).tls_folder
        assert folder in [mount["mountPath"] for mount in container["volumeMounts"]]
