"""Tasks with one owner: none is forgotten, one that fails does not take the others along."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first in a TaskGroup, for callers who know nothing of groups."""
    first = errors.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first


class OwnedTasks:
    """Like a TaskGroup, but a failing task ends only what it was for: `on_end` tells, with the error if there is one.

    A TaskGroup would cancel every request of the gateway because of one.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self,
        work: Coroutine[Any, Any, None],
        on_end: Callable[[BaseException | None], None],
        context: Context | None = None,
    ) -> asyncio.Task[None]:
        """Run `work`; `on_end(error)` once it is over, cancelled or not. `context`: not the caller's."""

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            on_end(None if task.cancelled() else task.exception())

        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(over, context=context)
        return task

    async def close(self) -> None:
        """Cancel every task and wait until all are over."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
