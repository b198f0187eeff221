"""A clock that is set by hand, and workers that describe themselves."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from penstock.core.types import Role, WorkerRef, WorkerState


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


MakeWorker = Callable[..., WorkerState]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_worker() -> MakeWorker:
    def make(name: str, role: Role = Role.PREFILL, incarnation: int = 1, **changes: object) -> WorkerState:
        state = WorkerState(
            ref=WorkerRef(name, incarnation, f"{name}:1"), role=role, num_blocks=1000, num_free_blocks=1000
        )
        return replace(state, **changes)  # type: ignore[arg-type]

    return make
