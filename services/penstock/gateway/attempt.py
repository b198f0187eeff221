"""One try at a request: one offer to one prefill worker, and what becomes of it.

                 refused                                              (the worker holds nothing)
    offered --> accepted --> first token --> with decode --> finished
                    \\____________\\______________\\________> lost or failed, the request goes on in another attempt

Two streams tell of it and agree on no order: the decode worker's tokens, even its end, may come before the first
token. Tokens are put in order by position; what belongs to no live attempt is dropped by whoever looks up the handle.

Two decode workers may have it: one began, but the news of it was lost with its link, and the prefill worker went on to
the next. Their tokens are the same. The hand-off settles whose it is, and the other is stopped.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.core.errors import PenstockError, WorkerLost
from penstock.core.timeline import SpanAgo
from penstock.core.types import Candidate, FinishReason, SampledToken, WorkerRef
from penstock.gateway.generation import Generation
from penstock.wire.messages import FirstToken, PrefillStart


class Holder(Protocol):
    """A stream to a worker, as an attempt sees it: what depends on it is told when it is lost."""

    ref: WorkerRef

    def hold(self, attempt: "Attempt") -> None:
        """The attempt depends on this worker from now on."""

    def let_go(self, attempt: "Attempt") -> None:
        """It no longer does. Idempotent."""

    def send(self, handle: int, /) -> None:
        """Stop the attempt of that handle there. Idempotent."""


@dataclass(frozen=True, slots=True)
class ImageSources:
    """The files of a request's images, and who is to encode each, as the route says; nobody if it does not."""

    files: Sequence[bytes] = ()
    encoders: Sequence[WorkerRef] = ()


NO_IMAGES = ImageSources()


class Attempt:
    """Exists from the offer to the end; `on_end` is called once, with None when the request is finished."""

    __slots__ = (
        "_base",
        "_early",
        "_finish_reason",
        "_has_first_token",
        "_on_end",
        "_progress",
        "_progress_s",
        "blamed",
        "candidate",
        "decode",
        "ended",
        "generation",
        "handle",
        "images",
        "is_accepted",
        "is_refused",
        "is_settled",
        "num_images",
        "num_prefill_tokens",
        "prefill",
        "start",
        "verdict",
    )

    def __init__(
        self,
        start: PrefillStart,
        generation: Generation,
        candidate: Candidate,
        on_end: Callable[["Attempt", PenstockError | None], None],
        images: ImageSources = NO_IMAGES,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.start = start
        self.handle = start.request.handle
        self.generation = generation
        self.candidate = candidate
        self.images = images
        self.num_images = 0  # that were encoded for it
        self.num_prefill_tokens = start.request.num_tokens
        self.blamed: Sequence[WorkerRef] = (candidate.ref,)  # should it end badly now; not to be asked again
        self.prefill: Holder | None = None
        self.decode: Holder | None = None
        self.is_accepted = False
        self.is_refused = False  # then nothing of it is left on the worker
        self.is_settled = False  # then `decode` is known to be the only worker that may go on with it
        self.verdict: asyncio.Future[PenstockError | None] = loop.create_future()  # None: accepted
        self.ended: asyncio.Future[PenstockError | None] = loop.create_future()  # None: the request is finished
        self._on_end = on_end
        self._base = len(generation.output_token_ids)  # position of this attempt's first token
        self._has_first_token = False
        self._early: dict[int, SampledToken] = {}  # decode tokens that came before the first one
        self._finish_reason: FinishReason | None = None  # so did the end
        self._progress = (False, False, 0, 0)
        self._progress_s = 0.0

    # --- what the prefill worker says ---------------------------------------------------------------------------------

    def heard(self, now_s: float, spans: Iterable[SpanAgo], ref: WorkerRef) -> None:
        """Stages that ended on a worker."""
        self.generation.timeline.from_ago(now_s, spans, ref.worker_id)

    def accepted(self) -> None:
        self.is_accepted = True
        if not self.verdict.done():
            self.verdict.set_result(None)

    def refused(self, error: PenstockError) -> None:
        self.is_refused = True
        self.end(error)

    def first_token(self, message: FirstToken) -> None:
        """Deliver it, and whatever the decode worker has said in the meantime."""
        self.accepted()
        if self._has_first_token:
            return
        self._has_first_token = True
        if self._base == 0:
            self.generation.num_cached_tokens = message.num_cached_tokens
        self.generation.deliver(self._base, message.token)
        for position in sorted(self._early):
            self.generation.deliver(position, self._early[position])
        self._early.clear()
        if message.finish_reason:
            self.is_settled = True
        if reason := message.finish_reason or self._finish_reason:
            self._finish(reason)
        elif self.decode is not None:
            self._leave_prefill()

    def handed_off(self, ref: WorkerRef, decode: Holder | None) -> None:
        """`ref` took over; without a stream to it (None) its tokens will not arrive."""
        self.blamed = (ref,)
        if decode is None:
            self.end(WorkerLost("The decode worker was lost before the request reached it."))
        else:
            if self.decode is not None and self.decode is not decode:
                self.decode.send(self.handle)
            self.taken_over(decode)
            self.is_settled = True

    def cut_off(self) -> None:
        """Every decode worker it was offered with is lost: its prefill worker would look for them in vain."""
        self.blamed = self.start.decode_candidates
        self.end(WorkerLost("Every decode worker named for the request was lost."))

    # --- what the decode worker says ----------------------------------------------------------------------------------

    def taken_over(self, decode: Holder) -> bool:
        """A token from a decode worker says as much as a hand-off that is still on its way.

        False when the request was handed to another: this one is told to stop.
        """
        if self.decode is decode:
            return True
        if self.is_settled:
            decode.send(self.handle)
            return False
        if self.decode is not None:
            self.decode.let_go(self)
        self.decode = decode
        self.blamed = (decode.ref,)
        decode.hold(self)
        if self._has_first_token:
            self._leave_prefill()
        return True

    def out_of_order(self, position: int, token: SampledToken) -> None:
        """A token that was not the next one: early, repeated, or a sign that one was lost."""
        if position < len(self.generation.output_token_ids):
            return
        if self._has_first_token:  # a stream keeps order, so the missing one will never come
            self.end(WorkerLost("The decode worker skipped a token."))
        else:
            self._early[position] = token

    def finished(self, reason: FinishReason | None, error: PenstockError | None) -> None:
        """The decode worker is done: every one of its tokens has been heard, the first token perhaps not yet."""
        if error is not None or reason is None:
            self.end(error or WorkerLost("The decode worker ended the request without a reason."))
        elif self._has_first_token:
            self._finish(reason)
        else:
            self._finish_reason = reason

    # --- its end ------------------------------------------------------------------------------------------------------

    def end(self, error: PenstockError | None) -> None:
        """Over, once: nobody depends on a worker for it any more, and later messages find no handle."""
        if self.ended.done():
            return
        self.ended.set_result(error)
        if not self.verdict.done():
            self.verdict.set_result(error)
        self._leave_prefill()
        if self.decode is not None:
            self.decode.let_go(self)
        self._on_end(self, error)

    def stuck_for_s(self, now_s: float) -> float:
        """How long nothing has happened, as far as anyone has looked; a token costs nothing here."""
        num_tokens = len(self.generation.output_token_ids)
        progress = (self.is_accepted, self.decode is not None, self.num_images, num_tokens)
        if progress != self._progress or self._progress_s == 0.0:
            self._progress, self._progress_s = progress, now_s
        return now_s - self._progress_s

    def _finish(self, reason: FinishReason) -> None:
        self.generation.finish(reason)
        self.end(None)

    def _leave_prefill(self) -> None:
        if self.prefill is not None:
            self.prefill.let_go(self)
