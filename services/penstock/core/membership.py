"""Who belongs to a group: workers by name, each with its last heartbeat and a lease that heartbeats renew."""

from dataclasses import replace
from enum import Enum, auto

from penstock.core.types import WorkerRef, WorkerState


class Heard(Enum):
    """What a heartbeat meant."""

    UNKNOWN = auto()  # no such worker, or another life of it: it must register
    SAME = auto()  # only its load moved
    CHANGED = auto()  # what peers must know of it changed: role, drain, revision


class Membership:
    """The members of one group. A registration replaces an earlier life of the same worker, whatever its state."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._members: dict[str, WorkerState] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._members

    @property
    def workers(self) -> list[WorkerState]:
        return list(self._members.values())

    def register(self, state: WorkerState, now_s: float) -> WorkerState:
        """Admit a worker; its registration counts as its first heartbeat."""
        member = self._members[state.ref.worker_id] = replace(state, heartbeat_s=now_s)
        return member

    def heartbeat(self, state: WorkerState, now_s: float) -> Heard:
        """Renew the lease of a worker that is known by this incarnation and address."""
        worker_id = state.ref.worker_id
        known = self._members.get(worker_id)
        if known is None or known.ref != state.ref:
            return Heard.UNKNOWN
        self._members[worker_id] = replace(state, heartbeat_s=now_s)
        return Heard.SAME if _standing(known) == _standing(state) else Heard.CHANGED

    def get(self, worker_id: str) -> WorkerState:
        return self._members[worker_id]

    def remove(self, worker_id: str) -> bool:
        """Whether it was a member."""
        return self._members.pop(worker_id, None) is not None

    def expire(self, now_s: float) -> list[WorkerRef]:
        """Remove and return the workers whose lease has ended."""
        gone = [member.ref for member in self._members.values() if now_s - member.heartbeat_s > self._lease_s]
        for ref in gone:
            del self._members[ref.worker_id]
        return gone


def _standing(state: WorkerState) -> tuple[object, ...]:
    return state.role, state.is_draining, state.model, state.revision, state.transports
