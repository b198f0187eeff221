"""What the three process entry points share: settings, log, parent, event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from penstock.cli.builtin_model import BUILTIN, builtin_model
from penstock.runtime import lifecycle, settings
from penstock.runtime.settings import GatewaySettings, SchedulerSettings, WorkerSettings
from penstock.runtime.telemetry import configure_logging

Loaded = TypeVar("Loaded", GatewaySettings, SchedulerSettings, WorkerSettings)


def run(loaded: Loaded, serve: Callable[[Loaded, asyncio.Event], Awaitable[int]]) -> int:
    """Run one process from its settings to its exit status."""
    if not isinstance(loaded, SchedulerSettings) and loaded.model == BUILTIN:
        loaded = replace(loaded, model=str(asyncio.run(builtin_model())))
    configure_logging(_name(loaded), loaded.log_level, loaded.log_format == "json")
    settings.log_settings(loaded)
    if (parent_pid := settings.parent_pid()) is not None:
        lifecycle.die_with_parent(parent_pid)
    return lifecycle.run(partial(serve, loaded))


def _name(loaded: GatewaySettings | SchedulerSettings | WorkerSettings) -> str:
    match loaded:
        case WorkerSettings(worker_id=name) | GatewaySettings(gateway_id=name):
            return name
        case _:
            return loaded.process
