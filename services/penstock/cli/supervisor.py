"""All children of `penstock up`: started together, ended in order, and nothing of theirs left behind."""

import asyncio
from collections.abc import Awaitable, Callable

from penstock.cli.child import Child, ChildFailed, RunningProcess, spawn
from penstock.cli.leftovers import end_orphans
from penstock.cli.stack import ProcessSpec, StopOrder
from penstock.runtime import lifecycle


class Supervisor:
    """Owns the children of one `penstock up`."""

    def __init__(
        self, specs: tuple[ProcessSpec, ...], say: Callable[[str, str], None], environment: dict[str, str]
    ) -> None:
        self._say = say
        self._environment = environment
        self._children = {spec.name: Child(spec, say, self._spawn) for spec in specs}
        self._tasks: asyncio.TaskGroup | None = None  # while it runs
        self._stop = asyncio.Event()
        self._started: set[str] = set()
        self._spawning = asyncio.Lock()
        self._failures: list[ChildFailed] = []

    async def run(self, stop: asyncio.Event, when_started: Callable[[], Awaitable[None]]) -> int:
        """Keep everything running until `stop`, which a hopeless child sets too; return the exit status.

        `when_started` waits until the system serves; from then on a child is restarted however often it dies.
        """
        lifecycle.adopt_orphans()
        self._stop = stop
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for child in self._children.values():
                    self._tasks.create_task(self._watch(child))
                settling = self._tasks.create_task(self._settle(when_started))
                await stop.wait()
                settling.cancel()
                await self._stop_in_order()
        finally:
            self._tasks = None
            await self._end_orphans()
        for failure in self._failures:
            self._say("up", failure.message)
        return self._failures[0].exit_status if self._failures else 0

    @property
    def names(self) -> list[str]:
        """Children that run or will run again."""
        return list(self._children)

    def add(self, spec: ProcessSpec) -> None:
        """Start one more child, and keep it running like the others. One that cannot run is given up, not `up`."""
        if self._tasks is None or self._stop.is_set():  # those that ended meanwhile are still among the children
            return
        assert spec.name not in self._children, f"{spec.name} runs already"
        child = self._children[spec.name] = Child(spec, self._say, self._spawn)
        self._tasks.create_task(self._watch(child, is_added=True))

    def remove(self, name: str, when_ended: Callable[[], None] = lambda: None) -> None:
        """Have a child finish and go for good; `when_ended` hears of it."""
        child = self._children[name]
        if self._tasks is not None and not self._stop.is_set():
            self._tasks.create_task(self._remove(child, when_ended))

    async def _remove(self, child: Child, when_ended: Callable[[], None]) -> None:
        await child.stop()
        when_ended()

    async def _watch(self, child: Child, *, is_added: bool = False) -> None:
        try:
            await child.keep_running()
        except ChildFailed as failure:
            if is_added:
                self._say("up", failure.message)
            else:
                self._failures.append(failure)
                self._stop.set()
        finally:
            if not self._stop.is_set():
                del self._children[child.spec.name]

    async def _settle(self, when_started: Callable[[], Awaitable[None]]) -> None:
        await when_started()
        for child in self._children.values():
            child.is_settled = True

    async def _stop_in_order(self) -> None:
        for order in StopOrder:
            async with asyncio.TaskGroup() as tasks:
                for child in list(self._children.values()):
                    if child.spec.stop_order is order:
                        tasks.create_task(child.stop())

    async def _spawn(self, spec: ProcessSpec) -> RunningProcess:
        """One at a time, so that a process just born is never taken for an orphan."""
        async with self._spawning:
            if spec.name in self._started:
                await self._end_orphans()
            self._started.add(spec.name)
            return await spawn(spec, self._environment)

    async def _end_orphans(self) -> None:
        kept_pids = [child.pid for child in self._children.values() if child.pid is not None]
        if names := await asyncio.to_thread(end_orphans, kept_pids):
            self._say("up", f"ended what a process had left behind: {', '.join(sorted(names))}")
