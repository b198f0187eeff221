"""The decode side of a simulated worker: promises to prefill workers, and the sequences it gives tokens to.

Mirrors `decode.intake` and `decode.loop`. A reservation starts when its commit is here and all of its KV has arrived.
"""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from penstock.core.sequences import SequenceBook, TokenEvent
from penstock.core.timeline import Span
from penstock.core.types import ScheduledSequence, Sequence, WorkerRef
from penstock.simulator.attempt import Attempt
from penstock.simulator.engine import SimulatedEngine
from penstock.simulator.events import EventQueue
from penstock.simulator.transfers import Port


class Reserver(Protocol):
    """Whoever holds a reservation and must hear when it is void."""

    def lost_decode(self) -> None:
        """The decode worker is gone, and the reservation with it."""


@dataclass(slots=True, eq=False)
class Decoding:
    """A sequence that decodes here, since when, and for whom."""

    sequence: Sequence
    attempt: Attempt
    began_s: float


class DecodeSide:
    """Owner of every sequence that is reserved or decoding on one life of one worker."""

    def __init__(self, ref: WorkerRef, engine: SimulatedEngine, port: Port, events: EventQueue, rpc_s: float) -> None:
        self.ref = ref
        self.port = port
        self._book: SequenceBook = engine.book
        self._engine = engine
        self._events = events
        self._rpc_s = rpc_s
        self._reservers: dict[Sequence, Reserver] = {}
        self._decoding: dict[int, Decoding] = {}  # by handle
        engine.on_run = self._on_run

    # --- reservations -------------------------------------------------------------------------------------------------

    def reserve(self, attempt: Attempt, num_tokens: int, reserver: Reserver) -> Sequence:
        """Promise blocks for a prompt computed elsewhere, or raise Refused."""
        self._engine.settle()
        request = attempt.request
        sequence = Sequence(request, [], self._events.now_s, block_hashes=list(request.block_hashes))
        self._book.reserve(sequence, self, num_tokens)
        self._reservers[sequence] = reserver
        self._engine.poke()  # blocks the present run counted on may be gone
        return sequence

    def when_there_is_room(self, watcher: object, callback: Callable[[], None]) -> None:
        self._book.when_there_is_room(watcher, callback)

    def withdraw(self, sequence: Sequence) -> None:
        """The prefill worker gives its reservation up. Nothing, when it has started or is gone."""
        if self._reservers.pop(sequence, None) is not None:
            self._engine.settle()
            self._book.release(sequence)

    def start(self, sequence: Sequence, attempt: Attempt, spans: SequenceOf[Span]) -> None:
        """All KV and the first token are here: decode."""
        if self._reservers.pop(sequence, None) is None:
            return
        self._engine.settle()
        sequence.token_ids = [0] * (attempt.request.num_tokens + 1)
        self.own(sequence, attempt)
        self._book.join(sequence)
        self._events.after(self._rpc_s, partial(attempt.taken_over, self.ref, spans))

    # --- decoding -----------------------------------------------------------------------------------------------------

    def own(self, sequence: Sequence, attempt: Attempt) -> None:
        """Give tokens to a sequence whose prompt has been computed, here or elsewhere."""
        self._book.owners[sequence] = self
        self._decoding[attempt.handle] = Decoding(sequence, attempt, self._events.now_s)

    def cancel(self, handle: int) -> None:
        """Stop decoding one request, if it decodes here."""
        decoding = self._decoding.pop(handle, None)
        if decoding is not None:
            self._engine.settle()
            self._book.release(decoding.sequence)
            self._engine.poke()

    def die(self) -> list[Attempt]:
        """Tell every prefill worker with a reservation; returns the attempts that were decoding."""
        reservers, self._reservers = self._reservers, {}
        for reserver in reservers.values():
            self._events.after(self._rpc_s, reserver.lost_decode)
        return [decoding.attempt for decoding in self._decoding.values()]

    def _on_run(self, sequences: SequenceOf[Sequence], times_s: SequenceOf[float]) -> None:
        arrived_s = [time_s + self._rpc_s for time_s in times_s]
        for sequence in sequences:
            self._decoding[sequence.request.handle].attempt.decoded(arrived_s)

    # --- SequenceOwner ------------------------------------------------------------------------------------------------

    def on_start(self, sequence: Sequence) -> None:
        """A preempted sequence begins again; its gateway need not know."""

    def on_layers(self, items: SequenceOf[ScheduledSequence], layers: range) -> None:
        """Nothing decoding here is handed over."""

    def on_tokens(self, step: int, events: SequenceOf[TokenEvent]) -> None:
        arrived_s = [self._events.now_s + self._rpc_s]
        for event in events:
            decoding = self._decoding[event.sequence.request.handle]
            decoding.attempt.decoded(arrived_s)
            if event.reason is not None:
                del self._decoding[decoding.attempt.handle]
                self._events.at(arrived_s[0], partial(decoding.attempt.finished, decoding.began_s, arrived_s[0]))
