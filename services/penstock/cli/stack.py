"""What `penstock up` starts: the processes of one machine and their settings, as a pure function of its flags."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

from penstock.core.errors import InvalidSettings
from penstock.core.policies.scenario_groups import parse_rule
from penstock.runtime.setting_values import setting
from penstock.runtime.settings import (
    GatewaySettings,
    HasSettings,
    SchedulerSettings,
    Settings,
    WorkerSettings,
    load,
    to_flags,
)


@dataclass(frozen=True, kw_only=True)
class UpSettings:
    """How many workers of each role `up` starts."""

    process: ClassVar[str] = "up"

    prefill: int = setting(1, "number of prefill workers; 0 when --mixed is given", minimum=0)
    decode: int = setting(1, "number of decode workers; 0 when --mixed is given", minimum=0)
    mixed: int = setting(0, "number of workers that do both", minimum=0)
    encoder: int = setting(0, "number of workers that encode images, and nobody else does", minimum=0)


class StopOrder(IntEnum):
    """Who goes first: nothing new comes in, then what is running ends, then nobody needs to be found any more."""

    GATEWAY = 0
    WORKERS = 1
    SCHEDULER = 2


@dataclass(frozen=True)
class ProcessSpec:
    """One child process."""

    name: str
    command: tuple[str, ...]
    stop_order: StopOrder
    drain_timeout_s: float


@dataclass(frozen=True)
class Stack:
    """All processes of one machine."""

    gateway: GatewaySettings
    scheduler: SchedulerSettings
    workers: tuple[WorkerSettings, ...]

    @property
    def specs(self) -> tuple[ProcessSpec, ...]:
        """The slowest to start first."""
        return (
            _spec("scheduler", self.scheduler, StopOrder.SCHEDULER, drain_timeout_s=5.0),
            *map(worker_spec, self.workers),
            _spec("gateway", self.gateway, StopOrder.GATEWAY, self.gateway.drain_timeout_s),
        )


def worker_spec(worker: WorkerSettings) -> ProcessSpec:
    """The process of one worker."""
    return _spec(worker.worker_id, worker, StopOrder.WORKERS, worker.drain_timeout_s)


# `up` itself decides these.
_DECIDED = {
    *("gateway_id", "worker_id", "role", "address", "router_host", "router_base_port", "groups"),
    *("metrics_address", "scheduler_address", "ray_address", "heartbeat_interval_s", "lease_s", "num_ray_cpus"),
    "scaler",
}
_DRAIN_TIMEOUT_S = "3"  # someone is waiting at the terminal


def up_fields() -> list[Any]:
    """Every flag `up` takes: its own, and those of the processes that it does not decide itself."""
    declared: dict[str, Any] = {}
    for cls in (UpSettings, GatewaySettings, WorkerSettings, SchedulerSettings):
        for field in fields(cls):
            declared.setdefault(field.name, field)
    return [field for name, field in declared.items() if name not in _DECIDED]


def plan(flags: Mapping[str, str], file: Path | None, find_port: Callable[[], int]) -> Stack:
    """The stack that `flags` ask for."""
    counts = _load(UpSettings, {"prefill": "0", "decode": "0", **flags} if "mixed" in flags else flags, file)
    if not counts.mixed and not (counts.prefill and counts.decode):
        key = "decode" if counts.prefill else "prefill"
        raise InvalidSettings(key, 0, "without mixed workers there must be at least one prefill and one decode worker")
    scheduler_address = f"127.0.0.1:{find_port()}"
    defaults = {"drain_timeout_s": _DRAIN_TIMEOUT_S, **flags, "scheduler_address": scheduler_address}
    worker = _load(WorkerSettings, {"encodes_images": "false", **defaults} if counts.encoder else defaults, file)
    own = {"address": scheduler_address, "scaler": f"127.0.0.1:{find_port()}"}
    scheduler = _load(SchedulerSettings, {**flags, **own}, file)
    gateway = _load(GatewaySettings, {**defaults, "gateway_id": "gateway"}, file)
    return Stack(
        gateway=gateway if gateway.port else replace(gateway, port=find_port()),
        scheduler=replace(scheduler, groups=_groups(gateway)),
        workers=tuple(
            replace(worker, worker_id=f"{role}-{index}", role=role)
            for role in ("encoder", "prefill", "decode", "mixed")
            for index in range(getattr(counts, role))
        ),
    )


def _groups(gateway: GatewaySettings) -> tuple[str, ...]:
    """Those the gateway sends requests to, the default one first."""
    rules = map(parse_rule, gateway.group_rules)
    return tuple(dict.fromkeys((gateway.group, *(rule.group for rule in rules))))


def with_model(stack: Stack, folder: Path) -> Stack:
    """The same stack on the model in `folder`."""
    model = str(folder)
    return replace(
        stack,
        gateway=replace(stack.gateway, model=model),
        workers=tuple(replace(worker, model=model) for worker in stack.workers),
    )


def _load(cls: type[Settings], flags: Mapping[str, str], file: Path | None) -> Settings:
    own = {field.name for field in fields(cls)}
    return load(cls, {key: value for key, value in flags.items() if key in own}, file=file)


def _spec(name: str, settings: HasSettings, stop_order: StopOrder, drain_timeout_s: float) -> ProcessSpec:
    command = (sys.executable, "-m", "penstock.cli.main", settings.process, *to_flags(settings))
    return ProcessSpec(name, command, stop_order, drain_timeout_s)
