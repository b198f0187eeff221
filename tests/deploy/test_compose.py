"""compose.yaml: every command is understood, everything it names is there, nothing has more rights than it needs."""

from typing import Any

import pytest
import yaml

from penstock.cli.main import COMMANDS
from tests.commands import SETTINGS, load_command
from tests.deploy.dockerfiles import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROCESSES = {name: service for name, service in SERVICES.items() if service.get("command", [""])[0] in SETTINGS}


def settings_of(name: str) -> Any:
    return load_command(PROCESSES[name]["command"])


def test_processes_understand_their_commands_and_find_each_other() -> None:
    assert set(PROCESSES) == {"scheduler", "prefill", "decode", "encoder", "gateway"}
    scheduler = settings_of("scheduler")
    port = scheduler.address.rpartition(":")[2]
    assert scheduler.router_host == "scheduler"
    for name in ("prefill", "decode", "encoder", "gateway"):
        assert settings_of(name).scheduler_address == f"scheduler:{port}"
    for name in ("prefill", "decode", "encoder"):
        worker = settings_of(name)
        assert worker.address.startswith(f"{name}:") and worker.role == name and worker.allow_tcp


def test_an_encoder_comes_only_when_asked_for_and_holds_no_kv() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "encoder": ["encoder"]
    }
    assert not any("kv" in argument for argument in SERVICES["encoder"]["command"])


def test_everything_that_is_named_exists() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert service.get("command", ["up"])[0] in COMMANDS
        assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).exists()


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_processes_have_no_rights_and_write_only_to_memory(name: str) -> None:
    service = PROCESSES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["tmpfs"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in service.get("volumes", []))


def test_only_the_gateway_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8000:8000"]}


def test_a_container_gets_longer_to_stop_than_its_process_takes_to_drain() -> None:
    for name in ("prefill", "decode", "encoder", "gateway"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > settings_of(name).drain_timeout_s
