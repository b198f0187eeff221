"""The receiver's state machine."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from penstock.core.kv_layout import KvLayout
from penstock.transfer import inbox as inbox_module
from penstock.transfer.counters import TransportCounters
from penstock.transfer.inbox import Inbox, Target
from penstock.transfer.layout import KvPart
from penstock.transfer.memory import KvMemory
from penstock.transfer.segments import MAX_SEGMENT_BYTES, SegmentHeader, Status, worker_key

LAYOUT = KvLayout(2, 4, 8, 4, 8, 2, "bfloat16")
ME, PEER = ("decode-0", 7), ("prefill-0", 3)
ALL = KvPart(range(2), range(6), range(4))
CHECKSUM = 99


class Harness:
    """An inbox with one reservation of six tokens in blocks 5 and 2."""

    def __init__(self, layouts: tuple[KvLayout, ...] = (LAYOUT,), first_token: int = 0, num_tokens: int = 6) -> None:
        self.inbox = Inbox(ME, [KvMemory(layout, bytearray(layout.num_bytes)) for layout in layouts])
        self.counters = TransportCounters()
        self.num_completions = 0
        self.inbox.expect(PEER, 1, [5, 2], first_token, num_tokens, self._complete)

    def _complete(self) -> None:
        self.num_completions += 1

    def accept(self, header: SegmentHeader) -> Status | Target:
        return self.inbox.accept(PEER, header, self.counters)

    def arrive(self, header: SegmentHeader, checksum: int = CHECKSUM) -> Status:
        target = self.accept(header)
        if isinstance(target, Status):
            return target
        return self.inbox.complete(PEER, header, target, checksum, self.counters)


def header(part: KvPart = ALL, reservation_id: int = 1, sequence: int = 1) -> SegmentHeader:
    key = worker_key(PEER[0])
    return SegmentHeader(reservation_id, sequence, key, PEER[1], ME[1], part, 0, part.num_bytes(LAYOUT), CHECKSUM)


def test_a_reservation_is_complete_once_when_all_of_it_has_arrived_in_any_order() -> None:
    harness = Harness()
    parts = [
        KvPart(range(1, 2), range(3, 6), range(4)),
        KvPart(range(1), range(6), range(2)),
        KvPart(range(1, 2), range(3), range(4)),
        KvPart(range(1), range(6), range(2, 4)),
    ]
    for part in parts:
        assert harness.num_completions == 0
        assert harness.arrive(header(part)) is Status.OK
    assert harness.num_completions == 1
    assert harness.inbox.num_open == 0
    assert harness.counters.num_segments == len(parts)
    assert harness.counters.num_bytes == ALL.num_bytes(LAYOUT)


def test_an_accepted_segment_goes_to_the_blocks_of_its_reservation() -> None:
    target = Harness().accept(header(KvPart(range(1, 2), range(6), range(4))))
    assert isinstance(target, Target)
    offsets, lengths = target.rows.runs()
    plane, block = 8 * LAYOUT.block_bytes, LAYOUT.block_bytes
    assert offsets.tolist() == [
        2 * plane + 5 * block,
        2 * plane + 2 * block,
        3 * plane + 5 * block,
        3 * plane + 2 * block,
    ]
    assert lengths.tolist() == [block, block // 2, block, block // 2]


def test_a_corrupt_segment_is_never_counted_and_may_come_again() -> None:
    harness = Harness()
    assert harness.arrive(header(), checksum=CHECKSUM + 1) is Status.CHECKSUM
    assert harness.num_completions == 0
    assert harness.counters.num_checksum_failures == 1
    assert harness.counters.num_bytes == 0
    assert harness.arrive(header()) is Status.OK
    assert harness.num_completions == 1


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"reservation_id": 2}, Status.UNKNOWN_RESERVATION),
        ({"receiver_incarnation": 8}, Status.INCARNATION),
        ({"sender_incarnation": 4}, Status.INCARNATION),
        ({"sender_key": 1}, Status.INCARNATION),
        ({"part": replace(ALL, layers=range(3))}, Status.OUT_OF_RANGE),
        ({"part": replace(ALL, layers=range(1, 1))}, Status.OUT_OF_RANGE),
        ({"part": replace(ALL, tokens=range(7))}, Status.OUT_OF_RANGE),
        ({"part": replace(ALL, tokens=range(5, 5))}, Status.OUT_OF_RANGE),
        ({"part": replace(ALL, heads=range(5))}, Status.OUT_OF_RANGE),
        ({"num_bytes": 1}, Status.MALFORMED),
    ],
)
def test_what_does_not_belong_is_refused_and_nothing_is_marked(changed: dict[str, Any], status: Status) -> None:
    harness = Harness()
    assert harness.accept(replace(header(), **changed)) is status
    assert harness.counters.num_refused == 1
    assert harness.arrive(header()) is Status.OK


def test_tokens_before_the_reservations_first_are_out_of_range() -> None:
    harness = Harness(first_token=4)
    assert harness.accept(header(replace(ALL, tokens=range(3, 9)))) is Status.OUT_OF_RANGE
    assert harness.arrive(header(replace(ALL, tokens=range(4, 10)))) is Status.OK
    assert harness.num_completions == 1


def test_a_segment_beyond_the_protocols_bound_is_refused() -> None:
    layout = replace(LAYOUT, head_dim=MAX_SEGMENT_BYTES // 16)
    inbox = Inbox(
        ME, [KvMemory(replace(layout, num_blocks=1), np.empty(replace(layout, num_blocks=1).num_bytes, np.uint8))]
    )
    inbox.expect(PEER, 1, [0], 0, 4, lambda: None)
    large = replace(
        header(KvPart(range(1), range(4), range(4))), num_bytes=KvPart(range(1), range(4), range(4)).num_bytes(layout)
    )
    assert inbox.accept(PEER, large, TransportCounters()) is Status.MALFORMED


def test_duplicates_are_acknowledged_without_being_written() -> None:
    harness = Harness()
    half = header(replace(ALL, layers=range(1)))
    assert harness.arrive(half) is Status.OK
    assert harness.accept(half) is Status.OK
    assert harness.arrive(header(replace(ALL, layers=range(1, 2)))) is Status.OK
    assert harness.accept(half) is Status.OK
    assert harness.num_completions == 1
    assert harness.counters.num_segments == 2


def test_a_segment_that_overlaps_verified_or_arriving_kv_is_refused() -> None:
    harness = Harness()
    arriving = harness.accept(header(replace(ALL, layers=range(1))))
    assert isinstance(arriving, Target)
    assert harness.accept(header(ALL)) is Status.OUT_OF_RANGE
    harness.inbox.abandon(arriving)
    assert harness.arrive(header(ALL)) is Status.OK


def test_a_cancelled_reservation_accepts_nothing_and_never_completes() -> None:
    harness = Harness()
    target = harness.accept(header())
    assert isinstance(target, Target)
    assert target.is_live
    harness.inbox.cancel(PEER, 1)
    assert not target.is_live
    assert harness.inbox.complete(PEER, header(), target, CHECKSUM, harness.counters) is Status.UNKNOWN_RESERVATION
    assert harness.accept(header()) is Status.UNKNOWN_RESERVATION
    assert harness.num_completions == 0


def test_a_reservation_number_may_be_used_again_after_cancel() -> None:
    harness = Harness()
    late = harness.accept(header())
    assert isinstance(late, Target)
    harness.inbox.cancel(PEER, 1)
    harness.inbox.expect(PEER, 1, [0, 1], 0, 6, harness._complete)
    assert harness.inbox.complete(PEER, header(), late, CHECKSUM, harness.counters) is Status.UNKNOWN_RESERVATION
    assert harness.arrive(header()) is Status.OK
    assert harness.num_completions == 1


def test_reservations_of_another_life_of_the_peer_are_unknown() -> None:
    harness = Harness()
    other = (PEER[0], PEER[1] + 1)
    theirs = replace(header(), sender_incarnation=other[1])
    assert harness.inbox.accept(other, theirs, harness.counters) is Status.UNKNOWN_RESERVATION


def test_leave_to_write_is_given_for_open_reservations_only() -> None:
    harness = Harness()
    assert harness.inbox.admits(PEER, header()) is Status.OK
    assert harness.inbox.admits(PEER, header(reservation_id=2)) is Status.UNKNOWN_RESERVATION
    assert harness.inbox.admits(PEER, replace(header(), receiver_incarnation=1)) is Status.INCARNATION
    harness.inbox.cancel(PEER, 1)
    assert harness.inbox.admits(PEER, header()) is Status.UNKNOWN_RESERVATION


def test_each_rank_gets_the_heads_it_holds_and_no_segment_spans_two() -> None:
    ranks = tuple(replace(LAYOUT, tp_rank=rank, tp_size=2) for rank in range(2))
    harness = Harness(ranks)
    assert harness.accept(header(ALL)) is Status.OUT_OF_RANGE
    for heads in (range(2, 4), range(1), range(1, 2)):
        assert harness.num_completions == 0
        assert harness.arrive(header(replace(ALL, heads=heads))) is Status.OK
    assert harness.num_completions == 1


def test_a_reservation_of_nothing_is_complete_at_once() -> None:
    assert Harness(num_tokens=0).num_completions == 1


def test_memory_of_complete_reservations_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "NUM_REMEMBERED", 2)
    harness = Harness()
    for reservation_id in (2, 3, 4):
        harness.inbox.expect(PEER, reservation_id, [], 0, 0, lambda: None)
    answers = [harness.accept(header(reservation_id=number)) for number in (2, 3, 4)]
    assert answers == [Status.UNKNOWN_RESERVATION, Status.OK, Status.OK]
