r"""One child process of `penstock up`: kept running, its lines passed on, ended in order.

starting -> running -> (died) -> pausing -> starting ...
     \________ stop() from anywhere ________> ended
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

from penstock.cli.stack import ProcessSpec
from penstock.core.errors import PenstockError
from penstock.runtime import clock
from penstock.runtime.lifecycle import EXIT_UNUSABLE
from penstock.runtime.settings import child_environment

STABLE_S = 30.0
MAX_FAILURES_AT_START = 3


class ChildFailed(PenstockError):
    """A child cannot run, and starting it again would not help."""

    code = "child_failed"

    def __init__(self, name: str, exit_status: int) -> None:
        super().__init__(f"{name} ended with status {exit_status}; its last lines above say why")
        self.exit_status = exit_status


class RunningProcess(Protocol):
    """What is used of asyncio.subprocess.Process."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> asyncio.StreamReader | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, signal: int) -> None: ...


Spawn = Callable[[ProcessSpec], Awaitable[RunningProcess]]


def restart_delay_s(num_failures: int) -> float:
    """How long to wait after the n-th failure in a row: 0.5, 1, 2, 4, 8, 10, 10 ... seconds."""
    return min(0.5 * 2.0 ** min(num_failures - 1, 10), 10.0)


class Child:
    """Keeps one process running until told to stop."""

    def __init__(
        self,
        spec: ProcessSpec,
        say: Callable[[str, str], None],  # (name of the process, line)
        spawn: Spawn,
        now_s: Callable[[], float] = clock.now_s,
        delay_s: Callable[[int], float] = restart_delay_s,
    ) -> None:
        self.spec = spec
        self.is_settled = False  # set once the system was ready: from then on it is restarted however often it dies
        self._say = say
        self._spawn = spawn
        self._now_s = now_s
        self._delay_s = delay_s
        self._process: RunningProcess | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def keep_running(self) -> None:
        """Run, and run again after each death, until `stop` or an exit that was meant (status 0)."""
        num_failures = 0
        try:
            while not self._stopping.is_set():
                began_s = self._now_s()
                exit_status = await self._run_once()
                if self._stopping.is_set() or exit_status == 0:
                    return
                num_failures = 1 if self._now_s() - began_s > STABLE_S else num_failures + 1
                self._give_up_if_hopeless(exit_status, num_failures)
                delay_s = self._delay_s(num_failures)
                self._say(self.spec.name, f"died with status {exit_status}; starting it again in {delay_s:g} s")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay_s)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Ask the process to finish; after its drain time and a little more, end it."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), self.spec.drain_timeout_s + 2.0)
        except TimeoutError:
            self._say(self.spec.name, "did not finish in time; killing it")
            self._signal(signal.SIGKILL)
            await self._ended.wait()

    async def _run_once(self) -> int:
        self._process = await self._spawn(self.spec)
        if self._stopping.is_set():  # `stop` came while it was being started, and had nothing to signal
            self._signal(signal.SIGTERM)
        try:
            if self._process.stdout is not None:
                await self._pass_on(self._process.stdout)
            return await self._process.wait()
        finally:
            self._process = None

    async def _pass_on(self, lines: asyncio.StreamReader) -> None:
        """Until the process and everything it started have closed their end, or the process itself has ended."""
        assert self._process is not None
        reading = asyncio.ensure_future(self._read(lines))
        ending = asyncio.ensure_future(self._process.wait())
        await asyncio.wait((reading, ending), return_when=asyncio.FIRST_COMPLETED)
        # What it wrote last is in the pipe; a grandchild that holds the pipe open must not hold us.
        await asyncio.wait((reading,), timeout=0.2)
        reading.cancel()
        ending.cancel()
        await asyncio.gather(reading, ending, return_exceptions=True)

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            self._say(self.spec.name, line.decode(errors="replace").rstrip())

    def _give_up_if_hopeless(self, exit_status: int, num_failures: int) -> None:
        is_hopeless = not self.is_settled and num_failures >= MAX_FAILURES_AT_START
        if exit_status == EXIT_UNUSABLE or is_hopeless:
            raise ChildFailed(self.spec.name, exit_status)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def spawn(spec: ProcessSpec, additions: dict[str, str]) -> asyncio.subprocess.Process:
    """Start a child in a session of its own: Ctrl-C at the terminal reaches only `up`, which knows the order."""
    return await asyncio.create_subprocess_exec(
        *spec.command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=child_environment(additions),
        start_new_session=True,
        limit=2**20,
    )
