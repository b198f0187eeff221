"""Which worker encodes an image that a prefill worker wants, as a gateway decides by itself.

Whoever prefills encodes, if it can: nothing has to be moved. Otherwise the encoder worker that the route names, and
after that, or without a router, the one with the fewest images of this gateway under way; workers correct the rest by
refusing. One that was lost a moment ago comes last.
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
    by_life = {(worker.ref.worker_id, worker.ref.incarnation): worker for worker in workers}
    own = by_life.get(prefill)
    if own is not None and own.encodes_images and prefill not in tried:
        return own.ref
    revision = own.revision if own is not None else None
    encoders = [
        (life in suspects, life != load.named, load.num_images.get(life, 0), life)
        for life, worker in by_life.items()
        if worker.role is Role.ENCODER and not worker.is_draining and life not in tried
        if revision is None or worker.revision == revision
    ]
    return by_life[min(encoders)[3]].ref if encoders else None
