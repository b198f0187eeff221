"""What a command line that starts one of our processes means to that process."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from penstock.runtime.settings import (
    GatewaySettings,
    HasSettings,
    SchedulerSettings,
    WorkerSettings,
    load,
    parse_flags,
)

SETTINGS: dict[str, type[HasSettings]] = {
    cls.process: cls for cls in (GatewaySettings, SchedulerSettings, WorkerSettings)
}


def load_command(
    command: Sequence[str], env: Mapping[str, str] | None = None, files: Mapping[Path, Path] | None = None
) -> Any:
    """The settings that `penstock COMMAND` would run with; a file that it names is read where `files` says."""
    process, *arguments = command
    cls = SETTINGS[process]
    flags, file = parse_flags(process, "", fields(cls), arguments)
    return load(cls, flags, env=env or {}, file=(files or {})[file] if file else None)
