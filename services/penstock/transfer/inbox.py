"""The receiver's state machine, shared by every transport: which segments may come in, and when a reservation is whole.

segment:      missing ──accept(header)──► writing ──complete, checksum right──► covered
                 ▲                           │ checksum wrong, or the connection broke
                 └───────────────────────────┘
reservation:  expect ──► open ──every segment covered──► complete: late duplicates are acknowledged, not written
                           └───cancel──► forgotten: every later segment is refused
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from penstock.transfer.counters import TransportCounters
from penstock.transfer.layout import BlockTable, KvPart, Rows, local_heads, rows_of
from penstock.transfer.memory import KvMemory
from penstock.transfer.policy import Peer
from penstock.transfer.segments import MAX_SEGMENT_BYTES, SegmentHeader, Status, worker_key

MISSING, WRITING, COVERED = 0, 1, 2
NUM_REMEMBERED = 4096  # complete reservations whose late duplicates are still acknowledged

Key = tuple[Peer, int]


@dataclass(slots=True, eq=False)
class _Expected:
    """One reservation. `arrival` is the state of each vector pair: [num_layers, num_heads, num_tokens]."""

    tables: tuple[BlockTable, ...]  # one per local rank, all with the same blocks
    tokens: range
    heads: range
    arrival: npt.NDArray[np.uint8]
    num_missing: int
    on_complete: Callable[[], None]
    is_live: bool = True

    def box(self, part: KvPart) -> npt.NDArray[np.uint8]:
        head, token = self.heads.start, self.tokens.start
        return self.arrival[
            part.layers.start : part.layers.stop,
            part.heads.start - head : part.heads.stop - head,
            part.tokens.start - token : part.tokens.stop - token,
        ]


@dataclass(frozen=True, slots=True)
class Target:
    """Where an accepted segment goes."""

    memory: KvMemory
    rows: Rows
    part: KvPart
    expected: _Expected = field(repr=False)

    @property
    def is_live(self) -> bool:
        """False once the reservation is cancelled: its blocks may belong to another sequence."""
        return self.expected.is_live


class Inbox:
    """Reservations of one worker that are being filled."""

    def __init__(self, me: Peer, memories: Sequence[KvMemory]) -> None:
        self._me = me
        self._memories = tuple(memories)
        heads = [local_heads(memory.layout) for memory in memories]
        self._heads = range(min(h.start for h in heads), max(h.stop for h in heads))
        self._expected: dict[Key, _Expected] = {}
        self._complete: OrderedDict[Key, None] = OrderedDict()

    @property
    def num_open(self) -> int:
        return len(self._expected)

    def expect(
        self,
        peer: Peer,
        reservation_id: int,
        block_ids: Sequence[int],
        first_token: int,
        num_tokens: int,
        on_complete: Callable[[], None],
    ) -> None:
        key = (peer, reservation_id)
        tokens = range(first_token, first_token + num_tokens)
        table = BlockTable.of(block_ids, first_token)
        assert key not in self._expected, f"reservation {reservation_id} is expected already"
        assert all(table.holds(memory.layout, tokens) for memory in self._memories), "blocks do not hold the tokens"
        self._complete.pop(key, None)
        shape = (self._memories[0].layout.num_layers, len(self._heads), num_tokens)
        arrival = np.full(shape, MISSING, np.uint8)
        tables = (table,) * len(self._memories)
        self._expected[key] = _Expected(tables, tokens, self._heads, arrival, arrival.size, on_complete)
        if not num_tokens:
            self._finish(key)

    def cancel(self, peer: Peer, reservation_id: int) -> None:
        expected = self._expected.pop((peer, reservation_id), None)
        if expected is not None:
            expected.is_live = False

    def admits(self, peer: Peer, header: SegmentHeader) -> Status:
        """Whether a sender may write for this reservation at all."""
        if not self._is_from(peer, header):
            return Status.INCARNATION
        key = (peer, header.reservation_id)
        if key in self._complete:
            return Status.ARRIVED
        return Status.OK if key in self._expected else Status.UNKNOWN_RESERVATION

    def accept(self, peer: Peer, header: SegmentHeader, counters: TransportCounters) -> Status | Target:
        """Where the segment goes; or an answer at once: a refusal, or OK for what has arrived before."""
        answer = self._judge(peer, header)
        if isinstance(answer, Status) and answer is not Status.OK:
            counters.num_refused += 1
        return answer

    def _judge(self, peer: Peer, header: SegmentHeader) -> Status | Target:
        if not self._is_from(peer, header):
            return Status.INCARNATION
        key = (peer, header.reservation_id)
        if key in self._complete:
            return Status.OK
        expected = self._expected.get(key)
        if expected is None:
            return Status.UNKNOWN_RESERVATION
        return self._place(expected, header)

    def _is_from(self, peer: Peer, header: SegmentHeader) -> bool:
        """Whether the header comes from the life of the worker that greeted, and means this life of ours."""
        sender = (worker_key(peer[0]), peer[1])
        return (header.sender_key, header.sender_incarnation) == sender and header.receiver_incarnation == self._me[1]

    def _place(self, expected: _Expected, header: SegmentHeader) -> Status | Target:
        part = header.part
        rank = self._rank_of(part)
        if rank is None or not _lies_within(part, expected, self._memories[rank].layout.num_layers):
            return Status.OUT_OF_RANGE
        memory = self._memories[rank]
        if header.num_bytes != part.num_bytes(memory.layout) or header.num_bytes > MAX_SEGMENT_BYTES:
            return Status.MALFORMED
        box = expected.box(part)
        if (box == COVERED).all():
            return Status.OK
        if (box != MISSING).any():
            return Status.OUT_OF_RANGE  # would overwrite KV that is verified, or about to be
        box[...] = WRITING
        return Target(memory, rows_of(memory.layout, expected.tables[rank], part), part, expected)

    def _rank_of(self, part: KvPart) -> int | None:
        for rank, memory in enumerate(self._memories):
            heads = local_heads(memory.layout)
            if heads.start <= part.heads.start < part.heads.stop <= heads.stop:
                return rank
        return None

    def complete(
        self, peer: Peer, header: SegmentHeader, target: Target, checksum: int, counters: TransportCounters
    ) -> Status:
        """The segment is in place and `checksum` was computed there: count it, or have it sent again."""
        expected = target.expected
        if checksum != header.checksum:
            counters.num_checksum_failures += 1
            self.abandon(target)
            return Status.CHECKSUM
        if not expected.is_live:
            counters.num_refused += 1
            return Status.UNKNOWN_RESERVATION
        counters.num_bytes += header.num_bytes
        counters.num_segments += 1
        box = expected.box(target.part)
        box[...] = COVERED
        expected.num_missing -= box.size
        key = (peer, header.reservation_id)
        if expected.num_missing == 0 and self._expected.get(key) is expected:
            self._finish(key)
        return Status.OK

    def abandon(self, target: Target | None) -> None:
        """An accepted segment did not arrive whole: it may be sent again."""
        if target is not None:
            target.expected.box(target.part)[...] = MISSING

    def _finish(self, key: Key) -> None:
        expected = self._expected.pop(key)
        self._complete[key] = None
        if len(self._complete) > NUM_REMEMBERED:
            self._complete.popitem(last=False)
        expected.on_complete()


def _lies_within(part: KvPart, expected: _Expected, num_layers: int) -> bool:
    tokens = expected.tokens
    return (
        0 <= part.layers.start < part.layers.stop <= num_layers
        and tokens.start <= part.tokens.start < part.tokens.stop <= tokens.stop
    )
