"""Prompts being computed: engine events in, first tokens and hand-overs out.

Life of a request: steps 4 (accept or refuse at once) to 7 (first token, commit).
"""

import asyncio
import logging
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from penstock.core.embeddings import wanted_images
from penstock.core.errors import PenstockError, StaleAttempt
from penstock.core.sequences import SequenceBook, TokenEvent
from penstock.core.timeline import Stage
from penstock.core.types import ScheduledSequence, Sequence, WorkerRef
from penstock.prefill.handoff import Handoff, HandoffLimits
from penstock.runtime.outbox import Outbox
from penstock.transfer.peer_links import PeerLinks
from penstock.wire.messages import (
    FirstToken,
    HandedOff,
    PrefillEnded,
    PrefillEvents,
    PrefillStart,
    StageSpan,
    WantedImages,
)

log = logging.getLogger(__name__)

RequestKey = tuple[str, int]  # (gateway_id, handle)
DecodeInPlace = Callable[[Sequence], None]


@dataclass(slots=True, eq=False)
class Prefill:
    """One prompt: whom to tell, and how it leaves (None: decoded in place)."""

    sequence: Sequence
    outbox: Outbox[PrefillEvents]
    handoff: Handoff | None
    started_s: float = 0.0


def is_local(start: PrefillStart, me: WorkerRef) -> bool:
    """Whether it is decoded in place: this worker is the best candidate, or there is none."""
    return not start.decode_candidates or start.decode_candidates[0].worker_id == me.worker_id


class Prefiller:
    """Owner of every sequence that is prefilled on this worker, until it is decoded here or handed over."""

    def __init__(
        self,
        me: WorkerRef,
        book: SequenceBook,
        links: PeerLinks,
        decode_in_place: DecodeInPlace,
        limits: HandoffLimits,
        now_s: Callable[[], float],
    ) -> None:
        self.me = me
        self._book = book
        self._links = links
        self._decode_in_place = decode_in_place
        self._limits = limits
        self._now_s = now_s
        self._prefills: dict[RequestKey, Prefill] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_reservations = 0

    @property
    def num_sequences(self) -> int:
        return len(self._prefills)

    @property
    def num_tasks(self) -> int:
        return len(self._tasks)

    def start(self, start: PrefillStart, outbox: Outbox[PrefillEvents]) -> None:
        """Accept or refuse at once, into `outbox`."""
        request = start.request
        stays = is_local(start, self.me)
        try:
            if (request.gateway_id, request.handle) in self._prefills:
                raise StaleAttempt(f"Attempt {request.attempt} of {request.request_id} is here already.")
            sequence = self._book.accept(request, self, is_prefill_only=not stays)
        except PenstockError as refusal:
            log.debug("refused: %s", refusal.message, extra={"request_id": request.request_id})
            outbox.put(PrefillEvents(refused=[PrefillEnded(request.handle, refusal)]))
            self._book.when_there_is_room(outbox, lambda: _announce_room(outbox))
            return
        handoff = None
        if not stays:
            remote = [ref for ref in start.decode_candidates if ref.worker_id != self.me.worker_id]
            handoff = Handoff(sequence, remote, self._links.get, self._new_reservation_id, self._limits, self._now_s)
        self._prefills[request.gateway_id, request.handle] = Prefill(sequence, outbox, handoff)
        wanted = wanted_images(sequence)
        outbox.put(
            PrefillEvents(
                accepted_handles=[request.handle],
                wanted_images=[WantedImages(request.handle, wanted)] if wanted else (),
            )
        )

    def find(self, key: RequestKey) -> Sequence | None:
        """A prompt that is being computed here."""
        prefill = self._prefills.get(key)
        return prefill.sequence if prefill else None

    def cancel(self, key: RequestKey) -> None:
        """Stop one request, wherever it stands here."""
        prefill = self._prefills.pop(key, None)
        if prefill is not None:
            self._drop(prefill)

    def cancel_gateway(self, gateway_id: str, outbox: Outbox[PrefillEvents]) -> None:
        """Stop all that a gateway's ended stream had started."""
        for key, prefill in list(self._prefills.items()):
            if key[0] == gateway_id and prefill.outbox is outbox:
                self.cancel(key)

    def fail_all(self, error: PenstockError) -> None:
        """Tell every gateway to begin its requests elsewhere."""
        for key in list(self._prefills):
            self.fail(key, error)

    def fail(self, key: RequestKey, error: PenstockError) -> None:
        """Tell the gateway of one request to begin it elsewhere."""
        if prefill := self._prefills.get(key):
            prefill.outbox.put(PrefillEvents(failed=[PrefillEnded(key[1], error)]))
            self.cancel(key)

    async def close(self) -> None:
        for key in list(self._prefills):
            self.cancel(key)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- SequenceOwner ---

    def on_start(self, sequence: Sequence) -> None:
        prefill = self._prefills[_key(sequence)]
        prefill.started_s = self._now_s()
        if prefill.handoff and prefill.handoff.task is None:
            task = prefill.handoff.task = asyncio.create_task(self._hand_over(prefill, prefill.handoff))
            self._tasks.add(task)
            task.add_done_callback(lambda task: self._leave(task, prefill))

    def on_layers(self, items: SequenceOf[ScheduledSequence], layers: range) -> None:
        for item in items:
            prefill = self._prefills.get(_key(item.sequence))
            if prefill and prefill.handoff:
                # what the prefix cache held is in the pool for every layer: it goes out with the first chunk
                is_first_chunk = item.start == item.sequence.num_cached_tokens
                prefill.handoff.add_piece(layers, range(0 if is_first_chunk else item.start, item.end))

    def on_tokens(self, step: int, events: SequenceOf[TokenEvent]) -> None:
        for event in events:
            self._on_first_token(event)

    # --- inside ---

    def _on_first_token(self, event: TokenEvent) -> None:
        sequence = event.sequence
        key = _key(sequence)
        prefill = self._prefills[key]
        handle = sequence.request.handle
        first = FirstToken(handle, event.token, sequence.num_cached_tokens, event.reason, self._spans(prefill))
        if event.reason is not None:
            prefill.outbox.put(PrefillEvents(first_tokens=[first]))
            self.cancel(key)
        elif prefill.handoff is not None:
            prefill.outbox.put(PrefillEvents(first_tokens=[first]))
            prefill.handoff.add_first_token(event.token.token_id)
        else:
            prefill.outbox.put(PrefillEvents(first_tokens=[first], handed_off=[HandedOff(handle, self.me)]))
            del self._prefills[key]
            self._decode_in_place(sequence)

    def _spans(self, prefill: Prefill) -> list[StageSpan]:
        now_s = self._now_s()
        queued_ago_s, started_ago_s = now_s - prefill.sequence.arrived_s, now_s - prefill.started_s
        return [StageSpan(Stage.QUEUE, queued_ago_s, started_ago_s), StageSpan(Stage.PREFILL, started_ago_s, 0.0)]

    async def _hand_over(self, prefill: Prefill, handoff: Handoff) -> None:
        handle = prefill.sequence.request.handle
        try:
            ref, spans = await handoff.run()
            prefill.outbox.put(PrefillEvents(handed_off=[HandedOff(handle, ref, spans)]))
        except PenstockError as error:
            whose = {"request_id": prefill.sequence.request.request_id}
            log.info("not handed over: %s", error.message, extra=whose)
            prefill.outbox.put(PrefillEvents(failed=[PrefillEnded(handle, error)]))

    def _leave(self, task: "asyncio.Task[None]", prefill: Prefill) -> None:
        """A hand-over is over, however it went, and nothing of it is being read any more."""
        self._tasks.discard(task)
        if self._prefills.get(key := _key(prefill.sequence)) is prefill:
            del self._prefills[key]
        self._book.release(prefill.sequence)

    def _drop(self, prefill: Prefill) -> None:
        """Stop it now. Blocks of which a push is under way are freed after it: were they computed on before, the
        decode worker could be left with another sequence's KV, all of it checked out, under this one's hashes."""
        if prefill.handoff and prefill.handoff.task:
            prefill.handoff.task.cancel()
            self._book.stop(prefill.sequence)
        else:
            self._book.release(prefill.sequence)

    def _new_reservation_id(self) -> int:
        self._num_reservations += 1
        return self._num_reservations


def _key(sequence: Sequence) -> RequestKey:
    return sequence.request.gateway_id, sequence.request.handle


def _announce_room(outbox: Outbox[PrefillEvents]) -> None:
    outbox.put(PrefillEvents(has_capacity=True))
