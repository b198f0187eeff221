"""What prefill workers say: verdicts, wanted images, first tokens, hand-offs, failures.

Life of a request: steps 4 to 7, as the gateway hears them.
"""

from collections.abc import Callable, Mapping, Sequence

from penstock.core.types import WorkerRef
from penstock.gateway.attempt import Attempt, Holder
from penstock.wire.messages import PrefillCalls, PrefillEvents, PrefillStart


def pack_prefill_calls(items: list[PrefillStart | int]) -> PrefillCalls:
    """Offers and the handles of cancelled requests, in one message. A request cancelled here was offered before."""
    starts = [item for item in items if isinstance(item, PrefillStart)]
    return PrefillCalls(starts=starts, cancelled_handles=[item for item in items if isinstance(item, int)])


class PrefillListener:
    """Tells attempts what was said about them; what is about no live attempt is late, and dropped."""

    def __init__(
        self,
        attempts: Mapping[int, Attempt],
        find_decode: Callable[[WorkerRef], Holder | None],
        on_wanted: Callable[[Attempt, Sequence[int]], None],
        on_capacity: Callable[[], None],
        now_s: Callable[[], float],
    ) -> None:
        self._attempts = attempts
        self._find_decode = find_decode
        self._on_wanted = on_wanted
        self._on_capacity = on_capacity
        self._now_s = now_s

    def on_events(self, events: PrefillEvents) -> None:
        """In the order in which a request goes through them, should one message hold several."""
        self._verdicts(events)
        self._progress(events)
        for failed in events.failed:
            if attempt := self._attempts.get(failed.handle):
                attempt.end(failed.error)
        if events.has_capacity:
            self._on_capacity()

    def _verdicts(self, events: PrefillEvents) -> None:
        for handle in events.accepted_handles:
            if attempt := self._attempts.get(handle):
                attempt.accepted()
        for refused in events.refused:
            if attempt := self._attempts.get(refused.handle):
                attempt.refused(refused.error)
        for wanted in events.wanted_images:
            if attempt := self._attempts.get(wanted.handle):
                self._on_wanted(attempt, wanted.indices)

    def _progress(self, events: PrefillEvents) -> None:
        for first in events.first_tokens:
            if attempt := self._attempts.get(first.handle):
                attempt.heard(self._now_s(), first.spans, attempt.candidate.ref)
                attempt.first_token(first)
        for handed in events.handed_off:
            if attempt := self._attempts.get(handed.handle):
                attempt.heard(self._now_s(), handed.spans, attempt.candidate.ref)
                attempt.handed_off(handed.decode, self._find_decode(handed.decode))
