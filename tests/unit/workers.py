"""Workers for tests."""

from dataclasses import replace
from typing import Any

from penstock.core.types import Role, WorkerRef, WorkerState


def make_worker(name: str, role: Role = Role.PREFILL, incarnation: int = 1, **changes: Any) -> WorkerState:
    """A worker that describes itself: idle, but for what is said to differ."""
    ref = WorkerRef(name, incarnation, f"{name}:1")
    return replace(WorkerState(ref, role, num_blocks=1000, num_free_blocks=1000), **changes)
