"""Images of accepted attempts on their way to workers that encode them.

    wanted --> sent to an encoder --> delivered: the worker that prefills goes on by itself
                  ^          | lost, refused or failed: on to another one
                  '----------'                             none is left: the attempt ends

Life of a request: step 3, as the gateway sees it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.core.errors import NoWorkers, PenstockError, UnreadableImage
from penstock.core.policies.encoder_choice import EncoderLoad, choose_encoder
from penstock.core.policies.forwarding import WorkerLife, life_of
from penstock.core.types import WorkerRef, WorkerState
from penstock.gateway.attempt import Attempt
from penstock.gateway.worker_session import WorkerSession
from penstock.wire.encode_messages import EncodeCalls, EncodeEvents, EncodeStart

EncodeSession = WorkerSession[EncodeStart | int, EncodeCalls, EncodeEvents, "Errand"]


def pack_encode_calls(items: list[EncodeStart | int]) -> EncodeCalls:
    """Images and the handles of cancelled requests. Of both, images were first."""
    starts = [item for item in items if isinstance(item, EncodeStart)]
    return EncodeCalls(starts=starts, cancelled_handles=[item for item in items if isinstance(item, int)])


@dataclass(slots=True, eq=False)
class Errand:
    """Those images of one attempt that one encoder has."""

    images: "Images"
    session: EncodeSession
    indices: set[int]
    on_lost: Callable[["Errand", PenstockError], None]

    @property
    def handle(self) -> int:
        return self.images.attempt.handle

    def end(self, error: PenstockError | None) -> None:
        """The encoder is lost."""
        self.on_lost(self, error or NoWorkers("The encoder left."))


@dataclass(slots=True, eq=False)
class Images:
    """The images of one attempt, and where they are."""

    attempt: Attempt
    errands: dict[WorkerLife, Errand] = field(default_factory=dict)
    tried: set[WorkerLife] = field(default_factory=set)  # and did not deliver
    error: PenstockError | None = None  # why the last one did not

    def named(self, index: int) -> WorkerLife | None:
        """Whom the route names for an image."""
        encoders = self.attempt.images.encoders
        return life_of(encoders[index]) if index < len(encoders) else None

    def start(self, index: int) -> EncodeStart:
        request = self.attempt.start.request
        return EncodeStart(
            request_id=request.request_id,
            handle=request.handle,
            index=index,
            image=request.images[index],
            file=self.attempt.images.files[index],
            destination=self.attempt.candidate.ref,
            first_token_deadline_s=request.first_token_deadline_s,
            traceparent=request.traceparent,
        )


class ImageErrands:
    """Every image that is wanted and not delivered, by the handle of its attempt."""

    def __init__(
        self,
        open_session: Callable[[WorkerRef], EncodeSession],
        suspects: Callable[[], set[WorkerLife]],
        now_s: Callable[[], float],
    ) -> None:
        self.workers: Callable[[], Sequence[WorkerState]] = lambda: ()  # the membership
        self._open_session = open_session
        self._suspects = suspects
        self._now_s = now_s
        self._images: dict[int, Images] = {}

    def __len__(self) -> int:
        return len(self._images)

    def want(self, attempt: Attempt, indices: Sequence[int]) -> None:
        """The worker that accepted the attempt lacks the embeddings of these images."""
        images = self._images[attempt.handle] = Images(attempt)
        self._send(images, indices)

    def ended(self, attempt: Attempt) -> None:
        """Nobody waits for its images any more."""
        images = self._images.pop(attempt.handle, None)
        if images is not None:
            for errand in images.errands.values():
                errand.session.let_go(errand)
                errand.session.send(attempt.handle)

    # --- what encoders say --------------------------------------------------------------------------------------------

    def on_events(self, session: EncodeSession, events: EncodeEvents) -> None:
        """What is about no live attempt is late, and dropped."""
        for delivered in events.delivered:
            if images := self._take(session, delivered.handle, delivered.index):
                images.attempt.heard(self._now_s(), delivered.spans, session.ref)
                images.attempt.num_images += 1
                self._forget_if_done(images)
        for failed in events.failed:
            if images := self._take(session, failed.handle, failed.index):
                self._go_on(images, session, [failed.index], failed.error)

    def _take(self, session: EncodeSession, handle: int, index: int) -> Images | None:
        """The images one of which this encoder had, and has no more."""
        images = self._images.get(handle)
        errand = images.errands.get(session.life) if images else None
        if images is None or errand is None or errand.session is not session or index not in errand.indices:
            return None
        errand.indices.discard(index)
        if not errand.indices:
            del images.errands[session.life]
            session.let_go(errand)
        return images

    def _on_lost(self, errand: Errand, error: PenstockError) -> None:
        errand.images.errands.pop(errand.session.life, None)
        self._go_on(errand.images, errand.session, sorted(errand.indices), error)

    def _go_on(self, images: Images, session: EncodeSession, indices: Sequence[int], error: PenstockError) -> None:
        images.tried.add(session.life)
        images.error = error
        if isinstance(error, UnreadableImage):  # nobody else can read it either
            images.attempt.end(error)
        else:
            self._send(images, indices)

    # --- to encoders --------------------------------------------------------------------------------------------------

    def _send(self, images: Images, indices: Iterable[int]) -> None:
        attempt = images.attempt
        prefill = life_of(attempt.candidate.ref)
        for index in indices:
            if attempt.handle not in self._images:  # it has ended
                return
            load = EncoderLoad(self._num_images(), images.named(index))
            ref = choose_encoder(self.workers(), prefill, images.tried, self._suspects(), load)
            if ref is not None:
                self._send_to(ref, images, index)
            else:
                attempt.blamed = (attempt.candidate.ref,) if prefill in images.tried else ()
                attempt.end(images.error or NoWorkers("No worker that encodes images can be reached."))

    def _send_to(self, ref: WorkerRef, images: Images, index: int) -> None:
        session = self._open_session(ref)
        errand = images.errands.get(session.life)
        if errand is None:
            errand = images.errands[session.life] = Errand(images, session, set(), self._on_lost)
        errand.indices.add(index)
        session.hold(errand)
        session.send(images.start(index))

    def _num_images(self) -> Mapping[WorkerLife, int]:
        """Under way, by encoder."""
        counts: dict[WorkerLife, int] = {}
        for images in self._images.values():
            for life, errand in images.errands.items():
                counts[life] = counts.get(life, 0) + len(errand.indices)
        return counts

    def _forget_if_done(self, images: Images) -> None:
        if not images.errands:
            self._images.pop(images.attempt.handle, None)
