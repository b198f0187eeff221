"""A scenario file: a simulated cluster, its traffic, and the one value that is swept, if any."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from penstock.core.errors import InvalidSettings
from penstock.simulator.parsing import parse
from penstock.simulator.scenario import Scenario
from penstock_loadgen.workload import WorkloadSpec


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """Run once for each of `values`, put at `key`, as `--set` would put it."""

    key: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One run of an experiment; `value` is the swept one, and `key` what it stands for."""

    key: str
    value: float | None
    scenario: Scenario
    workload: WorkloadSpec


def read_file(path: Path) -> dict[str, Any]:
    """A scenario file as plain data."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf8"))
    except OSError as error:
        raise InvalidSettings("scenario", str(path), error.strerror or "cannot be read") from error
    except yaml.YAMLError as error:
        raise InvalidSettings("scenario", str(path), f"is no YAML: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidSettings("scenario", str(path), "must be a mapping of keys to values")
    return raw


def with_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`raw` with every KEY=VALUE put in; keys as `pools.0.count`, values as YAML."""
    raw = deepcopy(raw)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise InvalidSettings("--set", override, "must be KEY=VALUE, such as pools.0.count=4")
        _put(raw, key, yaml.safe_load(value))
    return raw


def points(raw: dict[str, Any]) -> Iterator[Point]:
    """Everything a scenario file asks to be run, in order. Raises InvalidSettings naming key, value and reason."""
    raw = dict(raw)
    swept = raw.pop("sweep", None)
    if swept is None:
        yield _point(raw, "", None)
        return
    sweep = parse(SweepSpec, swept, "sweep")
    for value in sweep.values:
        changed = deepcopy(raw)
        _put(changed, sweep.key, value)
        yield _point(changed, sweep.key, value)


def _point(raw: dict[str, Any], key: str, value: float | None) -> Point:
    raw = dict(raw)
    workload = parse(WorkloadSpec, raw.pop("workload", {}), "workload")
    return Point(key, value, parse(Scenario, raw), workload)


def _put(raw: dict[str, Any], key: str, value: object) -> None:
    """Set `key`, whose parts are mapping keys or list positions."""
    *parents, last = key.split(".")
    target: Any = raw
    for part in parents:
        if isinstance(target, list):
            target = target[_position(target, part, key)]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
    if isinstance(target, list):
        target[_position(target, last, key)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise InvalidSettings(key, value, "leads through something that is neither a mapping nor a list")


def _position(target: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise InvalidSettings(key, part, f"must be a position from 0 to {len(target) - 1}")
    return int(part)
