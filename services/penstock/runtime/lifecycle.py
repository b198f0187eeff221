"""How a process begins and ends: event loop, signals, parent, exit status."""

import asyncio
import ctypes
import logging
import os
import secrets
import signal
from collections.abc import Awaitable, Callable

import uvloop

from penstock.core.errors import InvalidSettings, UnsupportedModel

EXIT_FAILED = 1
EXIT_UNUSABLE = 78  # EX_CONFIG: starting again would fail the same way, so supervisors do not

_SAME_SIGNAL_S = 0.1  # when a parent dies the kernel may signal twice in a row: that is nobody who is impatient
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36

log = logging.getLogger(__name__)


def run(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `main` to its end and return the exit status.

    The first SIGTERM, SIGINT or SIGHUP sets the event: finish and return. A second one exits at once.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(main))


async def _main(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    first_s: float | None = None  # when the first signal came; `stop` may have been set before, by an order to drain

    def on_signal(number: signal.Signals) -> None:
        nonlocal first_s
        if first_s is None:
            first_s = loop.time()
            log.info("%s: stopping", number.name)
            stop.set()
        elif loop.time() - first_s >= _SAME_SIGNAL_S:
            log.warning("second %s: exiting at once", number.name)
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await main(stop)
    except Exception as error:  # the outermost loop of the process
        unusable = [leaf for leaf in _leaves(error) if exit_status_of(leaf) == EXIT_UNUSABLE]
        if unusable:
            log.error("%s", unusable[0])  # the sentence is all its reader needs
            return EXIT_UNUSABLE
        log.exception("the process failed")
        return EXIT_FAILED


def exit_status_of(error: Exception) -> int:
    """What a process that ends with `error` exits with."""
    return EXIT_UNUSABLE if isinstance(error, InvalidSettings | UnsupportedModel) else EXIT_FAILED


def _leaves(error: Exception) -> list[Exception]:
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for child in error.exceptions for leaf in _leaves(child)]


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel send this process SIGTERM when its parent ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:  # it ended before we could ask
        raise SystemExit(EXIT_FAILED)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that they can be found and ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def new_incarnation() -> int:
    """A number for this life of the process: random, 63 bit, never 0 (which means "any life" on the wire)."""
    return secrets.randbits(63) or 1
