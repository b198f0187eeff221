"""How a process ends: by signal, by error, with which status."""

import asyncio
import os
import signal

import pytest

from penstock.core.errors import InvalidSettings, UnsupportedModel, WorkerLost
from penstock.runtime import lifecycle
from penstock.runtime.lifecycle import EXIT_FAILED, EXIT_UNUSABLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_sets_the_event_and_main_finishes(number: signal.Signals) -> None:
    async def main(stop: asyncio.Event) -> int:
        os.kill(os.getpid(), number)
        await stop.wait()
        return 7

    assert lifecycle.run(main) == 7


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidSettings("port", 1, "it is in use"), EXIT_UNUSABLE),
        (UnsupportedModel("no such architecture"), EXIT_UNUSABLE),
        (WorkerLost("gone"), EXIT_FAILED),
        (ValueError("a bug"), EXIT_FAILED),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [InvalidSettings("a", 1, "no")])]), EXIT_UNUSABLE),
    ],
)
def test_errors_become_exit_statuses_and_log_lines(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(stop: asyncio.Event) -> int:
        raise error

    assert lifecycle.run(main) == status
    assert len(caplog.records) == 1
    assert (caplog.records[0].exc_info is None) == (status == EXIT_UNUSABLE)


def test_incarnations_are_63_bit_never_zero_and_never_alike() -> None:
    drawn = {lifecycle.new_incarnation() for _ in range(1000)}
    assert len(drawn) == 1000
    assert all(0 < incarnation < 2**63 for incarnation in drawn)
