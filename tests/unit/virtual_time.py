"""Virtual time for tests of timers and timeouts: when nothing can run, the clock jumps to the next timer."""

import asyncio
import functools
import gc
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import pytest

Arguments = ParamSpec("Arguments")


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing. To wait without a timer is a deadlock."""

    elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if not ready:
            assert timeout is not None, "deadlock: every task waits and no timer is set"
            self.elapsed_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return 1000.0 + self._jumping.elapsed_s


def in_virtual_time(
    test: Callable[Arguments, Coroutine[Any, Any, None]],
) -> Callable[Arguments, None]:
    """Run an async test so. It fails if it leaves a task, or a failure that nobody looked at, behind."""

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        loop = VirtualTimeLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner, pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", asyncio.tasks.sleep)  # it takes no time here
            runner.run(_leaving_nothing(test(*args, **kwargs)))
            gc.collect(1)
            assert loop.complaints == []

    return run


async def _leaving_nothing(test: Coroutine[Any, Any, None]) -> None:
    await test
    await settle()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"


def now_s() -> float:
    """The clock to hand to what is tested."""
    return asyncio.get_running_loop().time()


async def pass_time(seconds: float) -> None:
    await asyncio.tasks.sleep(seconds)


async def settle() -> None:
    """Let everything run that can."""
    await pass_time(1e-6)


async def let_run() -> None:
    """The same without virtual time: twenty turns of the loop."""
    for _ in range(20):
        await asyncio.sleep(0)
