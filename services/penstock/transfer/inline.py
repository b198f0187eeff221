"""Payloads that follow their header on the control socket: all of TCP's, and small ones whatever the transport.

A message costs more than the bytes of a small payload, so such a push is one message and its ack. The receiver does
all the writing, so even a shared-memory sender needs no leave for it.
"""

from penstock.transfer.carrier import Segment
from penstock.transfer.copies import CopyLane, hash_rows
from penstock.transfer.inbox import Target
from penstock.transfer.layout import Rows
from penstock.transfer.link import SenderLink
from penstock.transfer.memory import KvMemory
from penstock.transfer.segments import Ack, Kind, SegmentHeader
from penstock.transfer.sockets import FrameSocket


async def carry_inline(segment: Segment, link: SenderLink, lane: CopyLane) -> Ack:
    """Send from the pool: the kernel copies out of the source blocks, nobody gathers first."""
    rows = segment.source.rows(segment.part)
    checksum = await lane.run(hash_rows(segment.memory.pool, rows))
    with link.awaiting(segment.header.sequence) as answer:
        await link.socket.send(segment.checked(checksum).encode(Kind.INLINE), _views(segment.memory, rows))
        return await answer


async def receive_inline(sock: FrameSocket, header: SegmentHeader, target: Target | None) -> None:
    """Read the payload straight into its blocks, for as long as it is wanted."""
    if target is None:
        await sock.discard(header.num_bytes)
    else:
        await sock.receive(_views(target.memory, target.rows), lambda: target.is_live)


def _views(memory: KvMemory, rows: Rows) -> list[memoryview]:
    """The part as few contiguous pieces of the pool."""
    offsets, lengths = rows.runs()
    ends = (offsets + lengths).tolist()
    return [memory.view[begin:end] for begin, end in zip(offsets.tolist(), ends, strict=True)]
