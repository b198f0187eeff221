"""Images being encoded: starts in, batches through the vision tower, embeddings out to whoever prefills.

                 in the cache ----------------------------------.
    started --> waiting --(batch)--> running --> in the cache --'--> being delivered --> delivered
                   ^ the same image again: waits along, is encoded once

Life of a request: step 3.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from penstock.core.errors import Draining, PenstockError, QueueFull, StaleAttempt
from penstock.core.measured_costs import MeasuredCosts
from penstock.core.policies.encoder_batching import EncodeJob, EncodeLimits, choose_batch
from penstock.core.timeline import Stage
from penstock.encoder.cache import EmbeddingCache
from penstock.encoder.totals import EncodeTotals
from penstock.engine.image_encoder import EncodeInput, ImageEncoder
from penstock.runtime.outbox import Outbox
from penstock.transfer.memory import Bytes
from penstock.wire.encode_messages import EncodeEnded, EncodeEvents, EncodeStart, ImageDelivered
from penstock.wire.messages import StageSpan

log = logging.getLogger(__name__)

RequestKey = tuple[str, int]  # (gateway_id, handle)
Deliver = Callable[[str, EncodeStart, Bytes], Awaitable[SequenceOf[StageSpan]]]
"""Bring the embeddings to their destination, for a gateway; returns the stages it took, or raises why it cannot."""


BATCH = EncodeLimits(max_patches=65536)  # the activations of which are a few GB


@dataclass(frozen=True, slots=True)
class EncoderLimits:
    """How much may wait, run at once, and be kept."""

    max_waiting_images: int = 256
    cache_bytes: int = 2**30
    batch: EncodeLimits = BATCH


@dataclass(slots=True, eq=False)
class Errand:
    """One start, whom to tell, and the task that delivers once the embeddings are there."""

    gateway_id: str
    start: EncodeStart
    outbox: Outbox[EncodeEvents]
    arrived_s: float
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> RequestKey:
        return self.gateway_id, self.start.handle


@dataclass(slots=True, eq=False)
class Work:
    """One image, for all who want it."""

    content_hash: bytes
    job: EncodeJob
    image: EncodeInput
    errands: dict[Errand, None]


class Encoder:
    """Owner of everything that is to be encoded on this worker. `run` is its task."""

    def __init__(
        self, images: ImageEncoder, deliver: Deliver, limits: EncoderLimits, now_s: Callable[[], float]
    ) -> None:
        self.is_draining = False
        self.totals = EncodeTotals()
        self.costs = MeasuredCosts()  # of a prefill step's tokens read: of a batch's patches
        self.cache = EmbeddingCache(limits.cache_bytes)
        self._images = images
        self._deliver = deliver
        self._limits = limits
        self._now_s = now_s
        self._works: dict[bytes, Work] = {}  # waiting or running, by content
        self._waiting: dict[EncodeJob, Work] = {}  # in the order they came
        self._running: tuple[Work, ...] = ()
        self._errands: dict[RequestKey, dict[int, Errand]] = {}  # by index of the image
        self._num_held_tokens = 0  # made, not yet delivered
        self._tasks: set[asyncio.Task[None]] = set()  # deliveries, also those that are being cancelled
        self._has_work = asyncio.Event()
        self._has_left = asyncio.Event()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_errands(self) -> int:
        """Images asked for and not yet delivered."""
        return sum(map(len, self._errands.values()))

    @property
    def num_patches(self) -> int:
        """Of everything that waits or runs."""
        return sum(work.job.num_patches for work in (*self._waiting.values(), *self._running))

    def start(self, gateway_id: str, start: EncodeStart, outbox: Outbox[EncodeEvents]) -> None:
        """Begin to encode, or refuse at once."""
        errand = Errand(gateway_id, start, outbox, self._now_s())
        content_hash = start.image.content_hash
        rows = self.cache.get(content_hash)
        work = self._works.get(content_hash)
        try:
            self._refuse(errand, is_new=rows is None and work is None)
        except PenstockError as refusal:
            outbox.put(EncodeEvents(failed=[EncodeEnded(start.handle, start.index, refusal)]))
            return
        self.totals.num_asked_for += 1
        self._errands.setdefault(errand.key, {})[start.index] = errand
        if rows is not None:
            self.totals.num_cache_hits += 1
            self._bring(errand, rows, ())
        elif work is not None:
            self.totals.num_cache_hits += 1
            work.errands[errand] = None
        else:
            job = EncodeJob(content_hash.hex(), start.image.num_patches, start.image.num_tokens)
            work = Work(content_hash, job, EncodeInput(start.file, start.image.grid), {errand: None})
            self._works[content_hash] = self._waiting[job] = work
            self._has_work.set()

    def cancel(self, key: RequestKey) -> None:
        """The images of one request are not wanted any more. What nobody else wants is not encoded."""
        self._has_left.set()
        for errand in self._errands.pop(key, {}).values():
            if errand.task is not None:
                errand.task.cancel()
            if work := self._works.get(errand.start.image.content_hash):
                work.errands.pop(errand, None)
                if not work.errands and work.job in self._waiting:
                    del self._waiting[work.job], self._works[work.content_hash]

    def cancel_gateway(self, gateway_id: str, outbox: Outbox[EncodeEvents]) -> None:
        """Stop all that a gateway's ended stream had started."""
        for key, errands in list(self._errands.items()):
            if key[0] == gateway_id and any(errand.outbox is outbox for errand in errands.values()):
                self.cancel(key)

    def fail_all(self, error: PenstockError) -> None:
        """Tell every gateway to have its images encoded elsewhere."""
        for key, errands in list(self._errands.items()):
            for errand in errands.values():
                errand.outbox.put(EncodeEvents(failed=[EncodeEnded(key[1], errand.start.index, error)]))
            self.cancel(key)

    async def run(self) -> None:
        """Encode batches for ever. A device failure is raised: the process ends and gateways go elsewhere."""
        while True:
            await self._has_work.wait()
            batch = choose_batch(self._waiting, self._num_held_tokens, self._limits.batch)
            if batch:
                await self._encode([self._waiting.pop(job) for job in batch])
            else:
                self._has_work.clear()

    async def wait_until_empty(self) -> None:
        """Return when nothing is wanted of it any more."""
        while self._errands:
            self._has_left.clear()
            await self._has_left.wait()

    async def close(self) -> None:
        """End every delivery."""
        for key in list(self._errands):
            self.cancel(key)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- inside ---

    def _refuse(self, errand: Errand, *, is_new: bool) -> None:
        if self.is_draining:
            raise Draining("The worker is going away.")
        if errand.start.index in self._errands.get(errand.key, {}):
            raise StaleAttempt(f"Image {errand.start.index} of {errand.start.request_id} is being encoded already.")
        if is_new and len(self._waiting) >= self._limits.max_waiting_images:
            raise QueueFull(f"{len(self._waiting)} images wait to be encoded here already.")

    async def _encode(self, works: list[Work]) -> None:
        self._running, began_s = tuple(works), self._now_s()
        try:
            made = await self._images.encode([work.image for work in works])
        except PenstockError as error:
            await self._encode_alone(works, error)
            return
        finally:
            self._running = ()
        duration_s = self._now_s() - began_s
        self.totals.add_batch(len(works), duration_s)
        self.costs.add_prefill(sum(work.job.num_patches for work in works), duration_s)
        for work, rows in zip(works, made, strict=True):
            self._made(work, rows)

    async def _encode_alone(self, works: list[Work], error: PenstockError) -> None:
        """One image of a batch cannot be encoded; the others shall not fail with it."""
        if len(works) > 1:
            for work in works:
                await self._encode([work])
            return
        [work] = works
        log.warning("an image cannot be encoded: %s", error.message)
        for errand in self._take(work):
            self._forget(errand)
            errand.outbox.put(EncodeEvents(failed=[EncodeEnded(errand.start.handle, errand.start.index, error)]))

    def _made(self, work: Work, rows: Bytes) -> None:
        self.cache.put(work.content_hash, rows)
        now_s = self._now_s()
        for errand in self._take(work):
            self._bring(errand, rows, (StageSpan(Stage.ENCODE, now_s - errand.arrived_s, 0.0),))

    def _take(self, work: Work) -> list[Errand]:
        del self._works[work.content_hash]
        return list(work.errands)

    def _bring(self, errand: Errand, rows: Bytes, spans: tuple[StageSpan, ...]) -> None:
        self._num_held_tokens += len(rows)
        task = errand.task = asyncio.create_task(self._bring_to(errand, rows, spans, self._now_s()))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._brought(task, errand, len(rows)))

    async def _bring_to(self, errand: Errand, rows: Bytes, spans: tuple[StageSpan, ...], made_s: float) -> None:
        start = errand.start
        try:
            more = await self._deliver(errand.gateway_id, start, rows)
        except PenstockError as error:
            log.info("not delivered: %s", error.message, extra={"request_id": start.request_id})
            errand.outbox.put(EncodeEvents(failed=[EncodeEnded(start.handle, start.index, error)]))
            return
        ago_s = self._now_s() - made_s
        before = [StageSpan(span.stage, span.began_ago_s + ago_s, span.ended_ago_s + ago_s) for span in spans]
        delivered = ImageDelivered(start.handle, start.index, was_cached=not spans, spans=[*before, *more])
        errand.outbox.put(EncodeEvents(delivered=[delivered]))

    def _brought(self, task: "asyncio.Task[None]", errand: Errand, num_tokens: int) -> None:
        self._tasks.discard(task)
        self._num_held_tokens -= num_tokens
        self._forget(errand)
        self._has_work.set()  # perhaps a batch waited for embeddings to be taken

    def _forget(self, errand: Errand) -> None:
        errands = self._errands.get(errand.key, {})
        if errands.get(errand.start.index) is errand:
            del errands[errand.start.index]
            self._has_left.set()
            if not errands:
                del self._errands[errand.key]
