"""The simulated gateway: what its requests share. Mirrors `gateway.dispatcher` and `gateway.worker_sessions`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from penstock.core.errors import PenstockError
from penstock.core.policies.forwarding import WorkerLife, life_of
from penstock.core.timeline import Timeline
from penstock.core.types import WorkerRef
from penstock.simulator.events import EventQueue
from penstock.simulator.router import SimulatedRouter
from penstock.simulator.waiting import WaitingQueue
from penstock.simulator.worker import SimulatedWorker
from penstock.simulator.workload import RequestSpec


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """As `gateway.limits.DispatchLimits`, as far as virtual workers can be slow or lost."""

    no_workers_timeout_s: float = 5.0
    give_up_s: float = 30.0  # a request without a deadline, or already streaming, that makes no progress
    suspect_s: float = 2.0
    tick_s: float = 0.25
    min_backoff_s: float = 0.1
    max_backoff_s: float = 1.0
    max_num_waiting: int = 2048
    max_losses: int = 8


OnOver = Callable[[RequestSpec, Timeline, PenstockError | None], None]
FindWorker = Callable[[WorkerRef], SimulatedWorker | None]


@dataclass(slots=True)
class Desk:
    """What every request of the gateway shares; `find_worker` gives the present life of a worker, if it is that one."""

    events: EventQueue
    router: SimulatedRouter
    find_worker: FindWorker
    limits: GatewayLimits
    rpc_s: float
    on_over: OnOver
    queue: WaitingQueue
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    rejections: dict[str, int] = field(default_factory=dict)  # by code
    num_resumes: int = 0
    _suspects: dict[WorkerLife, float] = field(default_factory=dict)

    def suspect(self, ref: WorkerRef) -> None:
        """Try this worker last for a moment: it was lost."""
        self._suspects[life_of(ref)] = self.events.now_s + self.limits.suspect_s

    def suspects(self) -> set[WorkerLife]:
        if self._suspects:
            now_s = self.events.now_s
            self._suspects = {life: until_s for life, until_s in self._suspects.items() if until_s > now_s}
        return set(self._suspects)

    def count_rejection(self, code: str) -> None:
        self.rejections[code] = self.rejections.get(code, 0) + 1
