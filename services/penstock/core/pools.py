"""Which pool a worker is in, and the flip that moves it: roles change at once, work that is under way drains.

xLLM's four pools (technical report, arXiv 2510.14686, section 3.2). A worker that is flipped serves its new role from
that moment on; until its old work is done it is in a pool of its own, the first choice for being flipped back.

    PREFILL --flip--> PREFILL_TO_DECODE --drained--> DECODE
    DECODE  --flip--> DECODE_TO_PREFILL --drained--> PREFILL
"""

from dataclasses import dataclass
from enum import StrEnum

from penstock.core.types import Role, WorkerState


class Pool(StrEnum):
    """Where a language worker belongs now."""

    PREFILL = "prefill"
    DECODE = "decode"
    PREFILL_TO_DECODE = "prefill_to_decode"
    DECODE_TO_PREFILL = "decode_to_prefill"


def pool_of(worker: WorkerState) -> Pool:
    """Where it belongs by what it says of itself: whoever still has work of the other role is on its way.

    A decode worker has no prompt tokens waiting but those of sequences it has preempted, which is a passing thing.
    """
    if worker.role is Role.PREFILL:
        return Pool.DECODE_TO_PREFILL if worker.num_decoding else Pool.PREFILL
    return Pool.PREFILL_TO_DECODE if worker.num_prefill_tokens else Pool.DECODE


class Steering(StrEnum):
    """What the role controller of a group may do."""

    AUTO = "auto"  # decide and act
    OBSERVE = "observe"  # decide and say so, but do nothing
    PINNED = "pinned"  # leave every role as it is


@dataclass(frozen=True, slots=True)
class Flip:
    """Change one worker's role. `worker_id` is empty while only the direction is decided."""

    from_role: Role
    to_role: Role
    worker_id: str = ""


@dataclass(frozen=True, slots=True)
class RoleChange:
    """One change of a group's capacity, or one that was only thought of, as people are told of it."""

    at_s: float  # local monotonic clock
    subject: str  # a worker, or a role whose pool is resized
    change: str  # "prefill to decode", "2 to 3 workers"
    reason: str  # what the controller saw, or that an operator ordered it
    outcome: str  # "done", "observed" (it might not act), or why it failed


@dataclass(frozen=True, slots=True)
class RolesView:
    """What the role controller may do, and what was changed lately, oldest first."""

    steering: Steering = Steering.PINNED
    changes: tuple[RoleChange, ...] = ()


@dataclass(frozen=True, slots=True)
class PooledWorker:
    """A worker and its pool, with the prefill work that is queued there, as predicted by whoever routed it."""

    state: WorkerState
    pool: Pool
    queued_s: float = 0.0

    @property
    def worker_id(self) -> str:
        return self.state.ref.worker_id

    @property
    def num_sequences(self) -> int:
        return self.state.num_running + self.state.num_waiting

    @property
    def num_free_tokens(self) -> int:
        return self.state.num_free_blocks * self.state.block_size
