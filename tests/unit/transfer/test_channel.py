"""How a channel paces, repeats and ends its pushes, over a carrier that moves nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from penstock.core.errors import (
    ChecksumMismatch,
    IncarnationMismatch,
    RequestCancelled,
    TransferFailed,
    UnknownReservation,
)
from penstock.core.kv_layout import KvLayout
from penstock.runtime import clock
from penstock.transfer.carrier import Segment
from penstock.transfer.channel import Ends, KvChannel, PushStats
from penstock.transfer.counters import TransportCounters
from penstock.transfer.memory import KvMemory
from penstock.transfer.policy import TransferPolicy
from penstock.transfer.segments import Ack, SegmentHeader, Status
from tests.unit.virtual_time import let_run

LAYOUT = KvLayout(8, 4, 128, 16, 256, 2, "bfloat16")  # 1 MiB holds 512 tokens of one layer
NUM_TOKENS = 512
POOL = bytearray(LAYOUT.num_bytes)


@dataclass
class FakeLink:
    is_open: bool = True


@dataclass
class FakeCarrier:
    """Answers each segment by `answer`; holds them back while `gate` is not set."""

    answer: Callable[[SegmentHeader], Status] = lambda _: Status.OK
    leave: Status = Status.OK
    transport: str = "fake"
    link: FakeLink = field(default_factory=FakeLink)
    carried: list[SegmentHeader] = field(default_factory=list)
    num_outstanding: int = 0
    max_outstanding: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, header: SegmentHeader) -> Ack:
        return Ack(header.reservation_id, header.sequence, self.leave)

    async def carry(self, segment: Segment) -> Ack:
        self.carried.append(segment.header)
        self.num_outstanding += 1
        self.max_outstanding = max(self.max_outstanding, self.num_outstanding)
        self.reached.set()
        try:
            await self.gate.wait()
        finally:
            self.num_outstanding -= 1
        return Ack(segment.header.reservation_id, segment.header.sequence, self.answer(segment.header))

    async def close(self) -> None:
        self.link.is_open = False


class Harness:
    def __init__(self, carrier: FakeCarrier, num_credits: int = 2) -> None:
        self.carrier = carrier
        self.counters = TransportCounters()
        policy = TransferPolicy(allowed=(), segment_bytes=1 << 20, num_credits=num_credits, max_resends=2)
        ends = Ends(("prefill-0", 1), ("decode-0", 2), [KvMemory(LAYOUT, POOL)], [LAYOUT])
        self.channel = KvChannel(carrier, ends, policy, self.counters, "a test")  # type: ignore[arg-type]

    async def push(self, reservation_id: int = 1, timeout_s: float = 60.0, num_tokens: int = NUM_TOKENS) -> PushStats:
        blocks = list(range(-(-num_tokens // 16)))
        deadline_s = clock.now_s() + timeout_s
        return await self.channel.push(reservation_id, blocks, blocks, 0, range(8), range(num_tokens), deadline_s)


def opened(carrier: FakeCarrier) -> FakeCarrier:
    carrier.gate.set()
    return carrier


async def test_a_push_reports_what_it_moved() -> None:
    harness = Harness(opened(FakeCarrier()))
    stats = await harness.push()
    assert (stats.num_bytes, stats.num_segments, stats.num_retries) == (8 << 20, 8, 0)
    assert [header.part.layers.start for header in harness.carrier.carried] == list(range(8))
    assert len({header.sequence for header in harness.carrier.carried}) == 8
    assert (harness.counters.num_bytes, harness.counters.num_segments) == (8 << 20, 8)


async def test_credits_bound_what_is_outstanding_over_all_pushes_of_a_channel() -> None:
    harness = Harness(FakeCarrier(), num_credits=3)
    pushes = [asyncio.create_task(harness.push(number)) for number in range(4)]
    await let_run()
    assert harness.carrier.num_outstanding == 3
    harness.carrier.gate.set()
    await asyncio.gather(*pushes)
    assert harness.carrier.max_outstanding == 3
    assert len(harness.carrier.carried) == 32


async def test_a_corrupt_segment_is_sent_again_with_the_same_sequence() -> None:
    failures = iter([Status.CHECKSUM, Status.CHECKSUM])
    harness = Harness(opened(FakeCarrier(lambda _: next(failures, Status.OK))))
    stats = await harness.push(num_tokens=64)
    assert (stats.num_segments, stats.num_retries) == (1, 2)
    assert len({header.sequence for header in harness.carrier.carried}) == 1
    assert (harness.counters.num_resends, harness.counters.num_checksum_failures) == (2, 2)


async def test_resends_are_bounded() -> None:
    harness = Harness(opened(FakeCarrier(lambda _: Status.CHECKSUM)), num_credits=1)
    with pytest.raises(ChecksumMismatch, match="decode-0"):
        await harness.push()
    assert len(harness.carrier.carried) == 3
    assert harness.counters.num_failures == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.UNKNOWN_RESERVATION, UnknownReservation),
        (Status.INCARNATION, IncarnationMismatch),
        (Status.OUT_OF_RANGE, TransferFailed),
    ],
)
async def test_a_refusal_ends_the_push_without_a_resend(status: Status, error: type[Exception]) -> None:
    harness = Harness(opened(FakeCarrier(lambda _: status)), num_credits=1)
    with pytest.raises(error):
        await harness.push()
    assert len(harness.carrier.carried) == 1
    assert harness.counters.num_refused == 1


async def test_nothing_is_sent_without_leave() -> None:
    harness = Harness(opened(FakeCarrier(leave=Status.UNKNOWN_RESERVATION)))
    with pytest.raises(UnknownReservation):
        await harness.push()
    assert harness.carrier.carried == []


async def test_a_push_small_enough_to_go_inline_asks_for_no_leave() -> None:
    harness = Harness(opened(FakeCarrier(leave=Status.UNKNOWN_RESERVATION)))
    stats = await harness.push(num_tokens=8)
    assert (stats.num_segments, harness.carrier.carried[0].num_bytes) == (1, 128 << 10)


async def test_a_push_ends_at_its_deadline_and_returns_its_credits() -> None:
    harness = Harness(FakeCarrier())
    with pytest.raises(TransferFailed, match="by its deadline"):
        await harness.push(timeout_s=0.02)
    assert harness.carrier.num_outstanding == 0
    harness.carrier.gate.set()
    assert (await harness.push(2)).num_segments == 8


async def test_stop_waits_for_segments_under_way_and_sends_no_more() -> None:
    harness = Harness(FakeCarrier())
    push = asyncio.create_task(harness.push())
    await harness.carrier.reached.wait()
    stop = asyncio.create_task(harness.channel.stop(1))
    await let_run()
    assert not stop.done()
    harness.carrier.gate.set()
    await stop
    assert len(harness.carrier.carried) == 2
    with pytest.raises(RequestCancelled):
        await push


async def test_stop_leaves_other_reservations_alone_and_bars_its_own() -> None:
    harness = Harness(FakeCarrier())
    other = asyncio.create_task(harness.push(2))
    await harness.carrier.reached.wait()
    await harness.channel.stop(1)
    harness.carrier.gate.set()
    assert (await other).num_segments == 8
    with pytest.raises(RequestCancelled):
        await harness.push(1)


async def test_a_cancelled_push_waits_for_segments_under_way() -> None:
    harness = Harness(FakeCarrier())
    push = asyncio.create_task(harness.push())
    await harness.carrier.reached.wait()
    for _ in range(2):
        push.cancel()
        await let_run()
        assert not push.done()
    harness.carrier.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await push
    assert harness.carrier.num_outstanding == 0
    assert len(harness.carrier.carried) == 2


async def test_close_ends_every_push() -> None:
    harness = Harness(FakeCarrier())
    pushes = [asyncio.create_task(harness.push(number)) for number in range(3)]
    await let_run()
    close = asyncio.create_task(harness.channel.close())
    await let_run()
    harness.carrier.gate.set()
    await close
    assert not harness.channel.is_open
    results = await asyncio.gather(*pushes, return_exceptions=True)
    assert {type(result) for result in results} == {RequestCancelled}
    with pytest.raises(TransferFailed, match="closed"):
        await harness.push(9)


@pytest.mark.parametrize(
    ("destination", "first", "layers", "tokens"),
    [
        ([0, 256], 0, range(8), range(32)),
        ([0, -1], 0, range(8), range(32)),
        ([0], 0, range(8), range(32)),
        ([0, 1], 16, range(8), range(32)),
        ([0, 1], 0, range(9), range(32)),
        ([0, 1], 0, range(8), range(33)),
    ],
)
async def test_blocks_that_do_not_exist_never_become_an_address(
    destination: list[int], first: int, layers: range, tokens: range
) -> None:
    harness = Harness(opened(FakeCarrier()))
    with pytest.raises(TransferFailed):
        await harness.channel.push(1, [0, 1], destination, first, layers, tokens, clock.now_s() + 60)
    assert harness.carrier.carried == []


async def test_a_push_of_nothing_moves_nothing() -> None:
    harness = Harness(opened(FakeCarrier()))
    assert (await harness.push(num_tokens=0)).num_segments == 0
