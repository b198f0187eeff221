"""What the target said of itself while it was under load: pool sizes, and workers that came, went or flipped.

Live, from `/cluster` of a Penstock gateway, polled; from the simulator, its own samples. Another server has none.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from penstock_loadgen.endpoint import EndpointSpec
from penstock_loadgen.http_client import StreamingClient

POLL_INTERVAL_S = 1.0
_POLL_TIMEOUT_S = 2.0
SILENT_S = 3.0  # a worker that has not been heard for this long counts as gone


@dataclass(frozen=True, slots=True)
class PoolPoint:
    """A pool at one moment of a run."""

    time_s: float
    num_workers: int
    num_waiting: int
    num_running: int
    kv_usage: float  # share of blocks in use


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Something happened to a worker; noticed at this time, so up to one poll late."""

    time_s: float
    what: str


@dataclass(slots=True)
class ClusterHistory:
    """Empty when the target says nothing of itself."""

    pools: dict[str, list[PoolPoint]] = field(default_factory=dict)
    events: list[ClusterEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Life:
    role: str
    incarnation: int


class ClusterObserver:
    """Turns successive answers of `/cluster` into a history."""

    def __init__(self) -> None:
        self.history = ClusterHistory()
        self._lives: dict[str, _Life] | None = None

    def see(self, cluster: Mapping[str, Any], now_s: float) -> None:
        """One answer."""
        workers = [
            worker for group in cluster["groups"] for worker in group["workers"] if worker["heartbeat_age_s"] < SILENT_S
        ]
        lives = {worker["worker_id"]: _Life(worker["role"], worker["incarnation"]) for worker in workers}
        if self._lives is not None:
            self.history.events += [ClusterEvent(now_s, what) for what in _changes(self._lives, lives)]
        self._lives = lives
        roles = dict.fromkeys([*self.history.pools, *(worker["role"] for worker in workers)])
        for role in roles:
            members = [worker for worker in workers if worker["role"] == role]
            self.history.pools.setdefault(role, []).append(_point(members, now_s))


def _point(members: list[Mapping[str, Any]], now_s: float) -> PoolPoint:
    num_blocks = sum(worker["num_blocks"] for worker in members)
    num_free = sum(worker["num_free_blocks"] for worker in members)
    return PoolPoint(
        now_s,
        len(members),
        sum(worker["num_waiting"] for worker in members),
        sum(worker["num_running"] for worker in members),
        1 - num_free / num_blocks if num_blocks else 0.0,
    )


def _changes(before: Mapping[str, _Life], after: Mapping[str, _Life]) -> list[str]:
    found = [f"{worker_id} ({life.role}) is gone" for worker_id, life in before.items() if worker_id not in after]
    for worker_id, life in after.items():
        earlier = before.get(worker_id)
        if earlier is None:
            found.append(f"{worker_id} ({life.role}) came")
        elif earlier.incarnation != life.incarnation:
            found.append(f"{worker_id} ({life.role}) was restarted")
        elif earlier.role != life.role:
            found.append(f"{worker_id} flipped: {earlier.role} to {life.role}")
    return found


class ClusterWatch:
    """Polls in a thread of its own, beside whatever its process does, from `start` to `stop`."""

    def __init__(self, spec: EndpointSpec, now_s: Callable[[], float]) -> None:
        self._spec = spec
        self._now_s = now_s
        self._start_s = 0.0
        self._observer = ClusterObserver()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), daemon=True)

    def start(self, start_s: float) -> None:
        """`start_s` on the clock is second 0 of the run."""
        self._start_s = start_s
        self._thread.start()

    def stop(self) -> ClusterHistory:
        """What was seen."""
        self._is_stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        return self._observer.history

    async def _watch(self) -> None:
        client = self._spec.client(self._now_s)
        while not self._is_stopped.is_set() and await self._poll(client):
            await asyncio.to_thread(self._is_stopped.wait, POLL_INTERVAL_S)
        client.close()

    async def _poll(self, client: StreamingClient) -> bool:
        """False when there is no point in asking again: the target is no Penstock."""
        answer = await client.get("/cluster", self._spec.headers, _POLL_TIMEOUT_S)
        if not answer.is_success:
            return answer.status in (0, 429, 503)
        now_s = self._now_s() - self._start_s
        try:
            self._observer.see(orjson.loads(bytes(answer.body)), now_s)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return False
        return True
