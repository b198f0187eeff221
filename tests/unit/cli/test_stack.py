"""What `penstock up` starts."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from penstock.cli.stack import Stack, StopOrder, plan, up_fields, with_model
from penstock.core.errors import InvalidSettings
from penstock.runtime.settings import GatewaySettings, SchedulerSettings, WorkerSettings, load_from_argv


def stack_of(**flags: str) -> Stack:
    ports: Iterator[int] = count(9100)
    return plan(flags, None, lambda: next(ports))


@pytest.mark.parametrize(
    ("flags", "workers"),
    [
        ({}, ["prefill-0", "decode-0"]),
        ({"prefill": "2"}, ["prefill-0", "prefill-1", "decode-0"]),
        ({"mixed": "2"}, ["mixed-0", "mixed-1"]),
        ({"mixed": "1", "decode": "1"}, ["decode-0", "mixed-0"]),
        ({"encoder": "2"}, ["encoder-0", "encoder-1", "prefill-0", "decode-0"]),
    ],
)
def test_starts_the_workers_asked_for(flags: dict[str, str], workers: list[str]) -> None:
    stack = stack_of(**flags)
    assert [worker.worker_id for worker in stack.workers] == workers
    assert all(worker.worker_id.startswith(worker.role) for worker in stack.workers)


@pytest.mark.parametrize(
    ("flags", "encode"),
    [({}, True), ({"encoder": "1"}, False), ({"encoder": "1", "encodes_images": "true"}, True)],
)
def test_language_workers_encode_images_unless_there_are_encoders(flags: dict[str, str], encode: bool) -> None:
    assert {worker.encodes_images for worker in stack_of(**flags).workers} == {encode}


@pytest.mark.parametrize("flags", [{"prefill": "0"}, {"decode": "0"}, {"mixed": "0"}, {"prefill": "-1"}])
def test_refuses_a_system_that_could_not_serve(flags: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings):
        stack_of(**flags)


def test_everyone_is_told_the_same_scheduler_model_and_group() -> None:
    stack = with_model(stack_of(group="chat", engine="mock", port="0"), Path("/models/tiny"))
    assert {stack.scheduler.address, stack.gateway.scheduler_address} == {"127.0.0.1:9100"}
    assert {worker.scheduler_address for worker in stack.workers} == {"127.0.0.1:9100"}
    assert {stack.gateway.model, *(worker.model for worker in stack.workers)} == {"/models/tiny"}
    assert stack.scheduler.groups == (stack.gateway.group,) == ("chat",)
    assert {worker.engine for worker in stack.workers} == {"mock"}
    assert stack.scheduler.scaler == "127.0.0.1:9101"
    assert stack.gateway.port == 9102


def test_each_process_loads_from_its_command_line_what_was_planned() -> None:
    stack = stack_of(kv_memory_bytes="2GiB", port="8080", log_level="debug")
    classes = {"gateway": GatewaySettings, "scheduler": SchedulerSettings, "worker": WorkerSettings}
    planned = [stack.scheduler, *stack.workers, stack.gateway]
    for spec, settings in zip(stack.specs, planned, strict=True):
        process, *flags = spec.command[3:]
        assert load_from_argv(classes[process], flags) == settings


def test_stops_the_gateway_first_and_the_scheduler_last() -> None:
    order = [spec.name for spec in sorted(stack_of().specs, key=lambda spec: spec.stop_order)]
    assert order == ["gateway", "prefill-0", "decode-0", "scheduler"]
    assert list(StopOrder) == sorted(StopOrder)


def test_takes_every_flag_it_does_not_decide_itself() -> None:
    names = {field.name for field in up_fields()}
    assert {"prefill", "decode", "mixed", "port", "model", "engine", "dtype", "device", "kv_memory_bytes"} <= names
    assert not names & {"worker_id", "role", "address", "scheduler_address", "gateway_id"}


def test_groups_that_rules_name_get_a_router() -> None:
    stack = stack_of(group="chat", group_rules="long:prompt_tokens>=8000,acme:tenant=acme,chat:priority>1")
    assert stack.scheduler.groups == ("chat", "long", "acme")
