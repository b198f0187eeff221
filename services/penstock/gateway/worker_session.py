"""A stream to one life of one worker, the attempts that depend on it, and how long it has been silent."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from penstock.core.errors import PenstockError, WorkerLost
from penstock.core.policies.forwarding import WorkerLife, life_of
from penstock.core.types import WorkerRef
from penstock.gateway.stream import Stream

Item = TypeVar("Item")
Calls = TypeVar("Calls")
Events = TypeVar("Events")


class Dependent(Protocol):
    """An attempt, or whatever else depends on a worker."""

    @property
    def handle(self) -> int: ...

    def end(self, error: PenstockError | None, /) -> None:
        """The worker is lost."""


Held = TypeVar("Held", bound=Dependent)


class WorkerSession(Generic[Item, Calls, Events, Held]):
    """Ends once, whoever notices first: the stream, a probe, or the membership. Then every attempt on it is told."""

    def __init__(self, ref: WorkerRef, stream: Stream[Item, Calls, Events], now_s: Callable[[], float]) -> None:
        self.ref = ref
        self.life: WorkerLife = life_of(ref)
        self.heard_s = now_s()
        self.is_lost = False
        self.attempts: dict[int, Held] = {}
        self.task: asyncio.Task[None] | None = None  # runs `run`
        self.reason = "the stream ended"
        self._stream = stream
        self._now_s = now_s

    def send(self, item: Item) -> None:
        """What cannot be sent is not lost silently: the session is."""
        if not self.is_lost and not self._stream.send(item):
            self.lose("it stopped reading")

    async def run(self, on_events: Callable[[Events], None]) -> None:
        """Listen until the stream ends; the owner of the task then calls `lose`."""

        def hear(events: Events) -> None:
            self.heard_s = self._now_s()
            on_events(events)

        self.reason = (await self._stream.run(hear)).message

    def answered(self) -> None:
        """A probe found the process alive: silence counts from now."""
        self.heard_s = self._now_s()

    def silent_s(self) -> float:
        return self._now_s() - self.heard_s

    def hold(self, attempt: Held) -> None:
        """The clock of silence starts with the first attempt: an idle worker has nothing to say."""
        assert not self.is_lost, "whoever looks for a session passes over lost ones"
        if not self.attempts:
            self.heard_s = self._now_s()
        self.attempts[attempt.handle] = attempt

    def let_go(self, attempt: Held) -> None:
        self.attempts.pop(attempt.handle, None)

    def lose(self, reason: str) -> None:
        """This life of the worker is over for us. Idempotent."""
        self.is_lost = True
        if self.task is not None:
            self.task.cancel()
        error = WorkerLost(f"Worker {self.ref.worker_id} was lost: {reason}")
        while self.attempts:
            _, attempt = self.attempts.popitem()
            attempt.end(error)
