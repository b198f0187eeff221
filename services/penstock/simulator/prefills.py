"""The prefill side of a simulated worker: prompts accepted or refused at once, first tokens, hand-overs.

Mirrors `prefill.loop`.
"""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import partial

from penstock.core.errors import PenstockError, Refused
from penstock.core.sequences import SequenceBook, TokenEvent
from penstock.core.timeline import Span, Stage
from penstock.core.types import ScheduledSequence, Sequence
from penstock.simulator.attempt import Attempt
from penstock.simulator.decodes import DecodeSide
from penstock.simulator.engine import SimulatedEngine
from penstock.simulator.handoffs import Handoff
from penstock.simulator.surroundings import Surroundings


@dataclass(slots=True, eq=False)
class Prefill:
    """One prompt, and how it leaves (None: decoded in place)."""

    sequence: Sequence
    attempt: Attempt
    handoff: Handoff | None
    started_s: float = 0.0


class PrefillSide:
    """Owner of every sequence that is prefilled on one life of one worker, until it is decoded or handed over."""

    def __init__(
        self, engine: SimulatedEngine, decodes: DecodeSide, around: Surroundings, on_room: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._book: SequenceBook = engine.book
        self._decodes = decodes
        self._around = around
        self._on_room = on_room  # the gateway hears that something left after it was refused
        self._prefills: dict[int, Prefill] = {}  # by handle

    def start(self, attempt: Attempt) -> bool:
        """Accept or refuse at once; returns which."""
        events, rpc_s = self._around.events, self._around.rpc_s
        is_local = attempt.decode_refs[0] == self._decodes.ref
        self._engine.settle()
        try:
            sequence = self._book.accept(attempt.request, self, is_prefill_only=not is_local)
        except Refused as refusal:
            events.after(rpc_s, partial(attempt.refused, refusal))
            self._book.when_there_is_room(self, lambda: events.after(rpc_s, self._on_room))
            return False
        handoff = None if is_local else Handoff(sequence, attempt, self._decodes.port, self._around, self._over)
        self._prefills[attempt.handle] = Prefill(sequence, attempt, handoff)
        events.after(rpc_s, attempt.accepted)
        return True

    def cancel(self, handle: int) -> None:
        """Stop one request, wherever it stands here."""
        prefill = self._prefills.pop(handle, None)
        if prefill is None:
            return
        self._engine.settle()
        if prefill.handoff is None:
            self._book.release(prefill.sequence)
        else:  # blocks of which a push is under way are freed after it
            self._book.stop(prefill.sequence)
            self._around.events.at(prefill.handoff.cancel(), partial(self._book.release, prefill.sequence))
        self._engine.poke()

    def die(self) -> list[Attempt]:
        """Leave the reservations held elsewhere; returns the attempts that were here."""
        for prefill in self._prefills.values():
            if prefill.handoff is not None:
                prefill.handoff.cancel()
        return [prefill.attempt for prefill in self._prefills.values()]

    # --- SequenceOwner ------------------------------------------------------------------------------------------------

    def on_start(self, sequence: Sequence) -> None:
        prefill = self._prefills[sequence.request.handle]
        prefill.started_s = self._around.events.now_s
        if prefill.handoff is not None:
            prefill.handoff.begin()

    def on_layers(self, items: SequenceOf[ScheduledSequence], layers: range) -> None:
        for item in items:
            prefill = self._prefills.get(item.sequence.request.handle)
            if prefill is not None and prefill.handoff is not None:
                # what the prefix cache held is in the pool for every layer: it goes out with the first chunk
                is_first_chunk = item.start == item.sequence.num_cached_tokens
                prefill.handoff.add_piece(layers, range(0 if is_first_chunk else item.start, item.end))

    def on_tokens(self, step: int, events: SequenceOf[TokenEvent]) -> None:
        for event in events:
            self._on_first_token(event)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _on_first_token(self, event: TokenEvent) -> None:
        prefill = self._prefills[event.sequence.request.handle]
        attempt, now_s = prefill.attempt, self._around.events.now_s
        spans = [
            Span(Stage.QUEUE, prefill.sequence.arrived_s, prefill.started_s),
            Span(Stage.PREFILL, prefill.started_s, now_s),
        ]
        arrived_s = now_s + self._around.rpc_s
        self._around.events.at(arrived_s, partial(attempt.first_token, arrived_s, spans))
        if event.reason is not None:
            self.cancel(attempt.handle)
            self._around.events.at(arrived_s, partial(attempt.finished, now_s, arrived_s))
        elif prefill.handoff is not None:
            prefill.handoff.add_first_token()
        else:
            del self._prefills[attempt.handle]
            self._decodes.own(prefill.sequence, attempt)
            self._around.events.at(arrived_s, partial(attempt.taken_over, self._decodes.ref, ()))

    def _over(self, handoff: Handoff, error: PenstockError | None) -> None:
        """A hand-over is over, and nothing of it is being read any more."""
        del self._prefills[handoff.attempt.handle]
        self._engine.settle()
        self._book.release(handoff.sequence)
        if error is not None:
            self._around.events.after(self._around.rpc_s, partial(handoff.attempt.lost_prefill, error))
