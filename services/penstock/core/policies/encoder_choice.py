"""Which worker encodes an image that a prefill worker wants, as a gateway decides by itself.

Encoder workers are there to spare those that prefill: first the one that the route names, then, or without a router,
the one with the fewest images of this gateway under way; workers correct the rest by refusing. Where there is none, or
none that was not lost a moment ago, whoever prefills encodes, if it can.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.core.types import Role, WorkerRef, WorkerState

WorkerLife = tuple[str, int]  # (worker_id, incarnation)


@dataclass(frozen=True, slots=True)
class EncoderLoad:
    """What a gateway knows: images it has under way at each encoder, and whom the route names for this one."""

    num_images: Mapping[WorkerLife, int] = field(default_factory=dict)
    named: WorkerLife | None = None


def choose_encoder(
    workers: Sequence[WorkerState],
    prefill: WorkerLife,
    tried: Collection[WorkerLife],
    suspects: Collection[WorkerLife],
    load: EncoderLoad,
) -> WorkerRef | None:
    """None when nobody is left. `tried` have had this image and did not deliver it."""
    own = next((worker for worker in workers if _life(worker) == prefill), None)
    able = [
        worker
        for worker in workers
        if (worker.role is Role.ENCODER and not worker.is_draining) or (worker is own and own.encodes_images)
        if _life(worker) not in tried and (own is None or worker.revision == own.revision)
    ]

    def rank(worker: WorkerState) -> tuple[bool, bool, bool, int, WorkerLife]:
        life = _life(worker)
        return life in suspects, worker is own, life != load.named, load.num_images.get(life, 0), life

    return min(able, key=rank).ref if able else None


def _life(worker: WorkerState) -> WorkerLife:
    return worker.ref.worker_id, worker.ref.incarnation
