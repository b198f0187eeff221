"""One try at a request: one offer to one prefill worker, and what becomes of it. Mirrors `gateway.attempt`.

    offered --> accepted --> first token --> with decode --> finished
        '-> refused   \\____________\\______________\\___> lost or failed: the request goes on in another attempt

Workers hold the attempts they serve and call them when their news has reached the gateway.
"""

from collections.abc import Callable, Collection, Sequence

from penstock.core.errors import PenstockError, WorkerLost
from penstock.core.timeline import Span, Stage, Timeline
from penstock.core.types import Candidate, Request, WorkerRef

OnVerdict = Callable[["Attempt", PenstockError | None], None]


class Attempt:
    """`on_verdict` is called once with None (accepted) or a refusal; `on_end` once, with None when it is finished."""

    __slots__ = (
        "_on_end",
        "_on_verdict",
        "blamed",
        "candidate",
        "decode",
        "decode_refs",
        "is_accepted",
        "is_over",
        "is_refused",
        "num_patches",
        "request",
        "timeline",
    )

    def __init__(
        self,
        request: Request,
        candidate: Candidate,
        decode_refs: Sequence[WorkerRef],
        timeline: Timeline,
        on_verdict: OnVerdict,
        on_end: OnVerdict,
    ) -> None:
        self.request = request
        self.candidate = candidate
        self.decode_refs = decode_refs
        self.timeline = timeline
        self.num_patches = 0  # of images that no encoder has encoded
        self.decode: WorkerRef | None = None
        self.blamed: Collection[WorkerRef] = (candidate.ref,)
        self.is_accepted = self.is_refused = self.is_over = False
        self._on_verdict = on_verdict
        self._on_end = on_end

    @property
    def handle(self) -> int:
        return self.request.handle

    # --- what the prefill worker says ---------------------------------------------------------------------------------

    def accepted(self) -> None:
        if not (self.is_over or self.is_accepted):
            self.is_accepted = True
            self._on_verdict(self, None)

    def refused(self, error: PenstockError) -> None:
        """It holds nothing; another candidate may."""
        if not self.is_over:
            self.is_refused = self.is_over = True
            self._on_verdict(self, error)

    def first_token(self, arrived_s: float, spans: Sequence[Span]) -> None:
        """It reached the gateway at `arrived_s`."""
        if self.is_over:
            return
        self.timeline.spans += spans
        self.timeline.token(arrived_s)

    def lost_prefill(self, error: PenstockError) -> None:
        """The prefill worker died, or could not hand over. It does not matter once another worker decodes."""
        if self.decode is None or self.decode == self.candidate.ref:
            self.end(error)

    def cut_off(self) -> None:
        """Every decode worker it was offered with is gone."""
        self.blamed = self.decode_refs
        self.end(WorkerLost("Every decode worker named for the request was lost."))

    # --- what the decode worker says ----------------------------------------------------------------------------------

    def taken_over(self, ref: WorkerRef, spans: Sequence[Span]) -> None:
        if self.is_over:
            return
        self.decode = ref
        self.blamed = (ref,)
        self.timeline.spans += spans

    def decoded(self, times_s: Sequence[float]) -> None:
        """Tokens that reached the gateway at these times."""
        if not self.is_over:
            self.timeline.token_times_s += times_s

    def finished(self, began_s: float, arrived_s: float) -> None:
        """Its last token has come; decoding began at `began_s`."""
        if self.is_over:
            return
        self.timeline.spans.append(Span(Stage.DECODE, began_s, arrived_s))
        self.timeline.finish(arrived_s)
        self.end(None)

    def end(self, error: PenstockError | None) -> None:
        """Over, once."""
        if not self.is_over:
            self.is_over = True
            self._on_end(self, error)
