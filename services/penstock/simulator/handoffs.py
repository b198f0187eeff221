"""Handing one request over to a decode worker: reserve there, push KV as it is made, commit, see it started.

Mirrors `prefill.handoff`. The sequence keeps its blocks until the decode worker has started it: when one decode worker
fails, the next is tried and nothing is computed again, only pushed again.

    begin --> asking --granted--> pushing --(first token, all KV arrived)--> started: over
                ^  '--refused--> next candidate, or a pause              '--> decode worker died: next candidate
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from penstock.core.errors import PenstockError, Refused, WorkerLost
from penstock.core.timeline import Span, Stage
from penstock.core.types import Sequence
from penstock.simulator.attempt import Attempt
from penstock.simulator.decodes import DecodeSide
from penstock.simulator.surroundings import Surroundings
from penstock.simulator.transfers import Port

OnOver = Callable[["Handoff", PenstockError | None], None]


class Piece(NamedTuple):
    """KV that is in the pool: some layers of some tokens."""

    layers: range
    tokens: range


class Handoff:
    """One request on its way out; `on_over` is called once, with why nobody took it or None."""

    def __init__(
        self, sequence: Sequence, attempt: Attempt, port: Port, surroundings: Surroundings, on_over: OnOver
    ) -> None:
        self.sequence = sequence
        self.attempt = attempt
        self._port = port
        self._around = surroundings
        self._on_over = on_over
        self._pieces: list[Piece] = []
        self._first_token_s: float | None = None
        self._is_over = False
        self._began_s = 0.0
        self._num_tries = 0  # a try that another has replaced does nothing more
        self._side: DecodeSide | None = None  # asked or granted
        self._reserved: Sequence | None = None
        self._reserved_s = 0.0
        self._arrived_s = 0.0  # when the last byte pushed so far arrives

    # --- fed by the engine --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The prompt is being computed: look for a decode worker."""
        if not self._num_tries:
            self._began_s = self._around.events.now_s
            self._try(0, None)

    def add_piece(self, layers: range, tokens: range) -> None:
        """This KV is in the pool now."""
        self._pieces.append(Piece(layers, tokens))
        if self._reserved is not None:
            self._push(self._pieces[-1])

    def add_first_token(self) -> None:
        """The prompt is computed: no further piece comes."""
        self._first_token_s = self._around.events.now_s
        self._start_when_whole()

    def cancel(self) -> float:
        """Give up; returns when nothing is being read from the blocks any more."""
        self._is_over = True
        self._withdraw()
        return max(self._around.events.now_s, self._arrived_s)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _try(self, index: int, error: PenstockError | None) -> None:
        """Ask the candidate at `index`; after the last one pause, or give up."""
        refs = [ref for ref in self.attempt.decode_refs if ref != self.attempt.candidate.ref]
        if index >= len(refs):
            self._pause(error or WorkerLost("No decode worker was named for this request."))
            return
        self._num_tries += 1
        rpc_s, events = self._around.rpc_s, self._around.events
        side = self._around.find_decode(refs[index])
        if side is None:
            gone = WorkerLost(f"Decode worker {refs[index].worker_id} cannot be reached.")
            events.after(2 * rpc_s, self._if_current(partial(self._try, index + 1, error or gone)))
        else:
            events.after(rpc_s, self._if_current(partial(self._ask, side, index)))

    def _ask(self, side: DecodeSide, index: int) -> None:
        """The question has reached the decode worker."""
        rpc_s, events = self._around.rpc_s, self._around.events
        if self._around.find_decode(side.ref) is not side:
            gone = WorkerLost(f"Decode worker {side.ref.worker_id} died.")
            events.after(rpc_s, self._if_current(partial(self._try, index + 1, gone)))
            return
        try:
            reserved = side.reserve(self.attempt, self.attempt.request.num_tokens, self)
        except Refused as refusal:
            answer = self._if_current(partial(self._try, index + 1, refusal))
            side.when_there_is_room(self, lambda: events.after(rpc_s, self._retry))
            events.after(rpc_s, answer)
            return
        self._side = side
        events.after(rpc_s, self._if_current(partial(self._granted, reserved), partial(side.withdraw, reserved)))

    def _pause(self, error: PenstockError) -> None:
        """All said no. Patience counts from the first token: until then the blocks would be held anyway."""
        now_s, limits = self._around.events.now_s, self._around.handoff_limits
        self._side = None
        if self._first_token_s is not None and now_s - self._first_token_s > limits.patience_s:
            self._end(error)
            return
        self._around.events.after(limits.retry_interval_s, self._if_current(self._retry))

    def _retry(self) -> None:
        if not self._is_over and self._side is None:
            self._try(0, None)

    def _if_current(
        self, action: Callable[[], None], otherwise: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """`action`, unless this is over or another try has begun by then."""
        num_tries = self._num_tries

        def act() -> None:
            if not self._is_over and self._num_tries == num_tries:
                action()
            elif otherwise:
                otherwise()

        return act

    # --- pushing ------------------------------------------------------------------------------------------------------

    def _granted(self, reserved: Sequence) -> None:
        self._reserved = reserved
        self._reserved_s = self._arrived_s = self._around.events.now_s
        for piece in self._pieces:
            self._push(piece)
        self._start_when_whole()

    def _push(self, piece: Piece) -> None:
        assert self._reserved is not None and self._side is not None, "a push follows a grant"
        num_tokens = piece.tokens.stop - max(piece.tokens.start, self._reserved.num_cached_tokens)
        if num_tokens > 0:
            now_s, ports = self._around.events.now_s, (self._port, self._side.port)
            end_s = self._around.network.push(*ports, len(piece.layers), num_tokens, now_s)
            self._arrived_s = max(self._arrived_s, end_s)

    def _start_when_whole(self) -> None:
        """Once the first token is known every piece has been pushed: the commit goes out, the sequence starts."""
        if self._first_token_s is None or self._reserved is None:
            return
        events = self._around.events
        start_s = max(events.now_s + self._around.rpc_s, self._arrived_s)
        events.at(start_s, self._if_current(self._start))

    def _start(self) -> None:
        assert self._reserved is not None and self._side is not None, "a start follows a grant"
        now_s = self._around.events.now_s
        spans = [
            Span(Stage.RESERVE, self._began_s, self._reserved_s),
            Span(Stage.TRANSFER, self._reserved_s, now_s),
        ]
        self._side.start(self._reserved, self.attempt, spans)
        self._reserved = None
        self._num_tries += 1  # whatever was still due for the reservation is void
        self._around.events.after(self._around.rpc_s, self._if_current(partial(self._end, None)))

    # --- ending -------------------------------------------------------------------------------------------------------

    def lost_decode(self) -> None:
        """The decode worker died with our reservation."""
        if not self._is_over and self._side is not None:
            self._reserved = self._side = None
            self._try(0, None)

    def _withdraw(self) -> None:
        if self._reserved is not None and self._side is not None:
            self._around.events.after(self._around.rpc_s, partial(self._side.withdraw, self._reserved))
        self._reserved = self._side = None

    def _end(self, error: PenstockError | None) -> None:
        self._is_over = True
        self._on_over(self, error)
