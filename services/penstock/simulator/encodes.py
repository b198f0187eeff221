"""The encoder side of a simulated worker: images in, embeddings out, batched by `policies.encoder_batching`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from penstock.core.encode_cost import EncodeCost
from penstock.core.policies.encoder_batching import EncodeJob, EncodeLimits, choose_batch
from penstock.simulator.events import EventQueue

OnEncoded = Callable[[bool], None]  # False: the worker died first


@dataclass(frozen=True, slots=True)
class Encoder:
    """What encoding takes on one worker of a pool. The default cost is that of SigLIP-400M on an H200, from
    aiconfigurator's operator tables for tiles of 1024 patches; preprocessing on the CPU is not in it."""

    cost: EncodeCost = field(default_factory=lambda: EncodeCost(0.0012, 1.66e-6))
    limits: EncodeLimits = field(default_factory=EncodeLimits)


class EncodeSide:
    """First come, first served; one batch at a time."""

    def __init__(self, encoder: Encoder, events: EventQueue) -> None:
        self.encoder = encoder
        self.busy_s = 0.0
        self._events = events
        self._waiting: dict[EncodeJob, OnEncoded] = {}
        self._running: dict[EncodeJob, OnEncoded] = {}
        self._is_stopped = False

    @property
    def num_jobs(self) -> int:
        return len(self._waiting) + len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_patches(self) -> int:
        """Of everything that waits or runs."""
        return sum(job.num_patches for jobs in (self._waiting, self._running) for job in jobs)

    def add(self, job: EncodeJob, on_encoded: OnEncoded) -> None:
        """Encode one shard of one request."""
        self._waiting[job] = on_encoded
        if not self._running:
            self._begin()

    def die(self) -> None:
        """Whoever waits for something hears that it does not come."""
        lost = [*self._running.values(), *self._waiting.values()]
        self._is_stopped = True
        self._running, self._waiting = {}, {}
        for on_encoded in lost:
            self._events.after(0.0, partial(on_encoded, False))

    def _begin(self) -> None:
        batch = choose_batch(self._waiting, 0, self.encoder.limits)
        if batch and not self._is_stopped:
            self._running = {job: self._waiting.pop(job) for job in batch}
            duration_s = self.encoder.cost.seconds(sum(job.num_patches for job in batch))
            self.busy_s += duration_s
            self._events.after(duration_s, self._end)

    def _end(self) -> None:
        done, self._running = self._running, {}
        for on_encoded in done.values():
            on_encoded(True)
        self._begin()
