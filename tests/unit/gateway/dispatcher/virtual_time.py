"""An event loop whose clock jumps to the next timer, so that seconds cost nothing."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class _VirtualSelector(selectors.DefaultSelector):
    """Waiting takes no time: the clock jumps to the next timer. Waiting for nothing at all is a deadlock."""

    elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("deadlock: every task waits and no timer is set")
            self.elapsed_s += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.virtual = _VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return 1000.0 + self.virtual.elapsed_s


async def pass_time(seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await pass_time(0.001)
