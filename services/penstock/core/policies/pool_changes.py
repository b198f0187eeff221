"""What an order to change pools comes to: which workers go, and whether anybody is left to do the work.

    scale   role = n    more than n: the least loaded go; fewer: that many are started; those that drain do not count
    flip    worker      allowed while each stage keeps a worker that serves it

Penstock's own rules. Who is least loaded holds the fewest sequences, then the fewest tokens of context to move.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from penstock.core.errors import ChangeRefused
from penstock.core.types import Role, WorkerState


@dataclass(frozen=True, slots=True)
class PoolChange:
    """One role before and after. `ending` drain and go."""

    role: Role
    num_before: int
    num_after: int
    ending: tuple[str, ...] = ()  # worker ids

    @property
    def num_to_start(self) -> int:
        return max(0, self.num_after - self.num_before)


def plan_scale(
    targets: Sequence[tuple[Role, int]], workers: Sequence[WorkerState]
) -> tuple[list[PoolChange], ChangeRefused | None]:
    """The changes that give each role its count, in the order of `targets`, and why they must not be made, if so."""
    serving = [worker for worker in workers if not worker.is_draining]
    changes = [_change(role, num_workers, serving) for role, num_workers in targets]
    ending = {worker_id for change in changes for worker_id in change.ending}
    starting = [change.role for change in changes if change.num_to_start]
    staying = [worker.role for worker in serving if worker.ref.worker_id not in ending]
    return changes, _stage_left_empty([worker.role for worker in serving], [*staying, *starting])


def plan_flip(
    worker_id: str, role: Role, workers: Sequence[WorkerState], *, leaves: bool = False
) -> tuple[WorkerState | None, ChangeRefused | None]:
    """The worker as it is, and why it must not be flipped, or leave the group, if so."""
    worker = next((member for member in workers if member.ref.worker_id == worker_id), None)
    if worker is None:
        known = ", ".join(sorted(member.ref.worker_id for member in workers)) or "none"
        return None, ChangeRefused(f"There is no worker '{worker_id}' in this group; there are: {known}.")
    if worker.is_draining:
        return worker, ChangeRefused(f"{worker_id} is draining and will be gone.")
    if Role.ENCODER in (worker.role, role) and worker.role is not role:
        return worker, ChangeRefused("An encoder and a language worker hold different weights and cannot be flipped.")
    serving = [member for member in workers if not member.is_draining]
    others = [member for member in serving if member is not worker]
    after = others if leaves else [*others, replace(worker, role=role)]
    return worker, _stage_left_empty([member.role for member in serving], [member.role for member in after])


def _change(role: Role, num_workers: int, serving: Sequence[WorkerState]) -> PoolChange:
    members = [worker for worker in serving if worker.role is role]
    surplus = sorted(members, key=_weight)[: max(0, len(members) - num_workers)]
    return PoolChange(role, len(members), num_workers, tuple(worker.ref.worker_id for worker in surplus))


def _weight(worker: WorkerState) -> tuple[int, int, str]:
    return worker.num_running + worker.num_waiting, worker.num_context_tokens, worker.ref.worker_id


def _stage_left_empty(before: Iterable[Role], after: Iterable[Role]) -> ChangeRefused | None:
    """A stage that somebody serves now must not be left to nobody; one that nobody serves cannot be lost."""
    served, left = set(before), set(after)
    for stage in (Role.PREFILL, Role.DECODE):
        if served & {stage, Role.MIXED} and not left & {stage, Role.MIXED}:
            return ChangeRefused(f"That would leave no worker for {stage.value}: every request would wait.")
    return None
