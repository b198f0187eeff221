"""The seam between a channel and its transport: how one segment gets into the peer's pool."""

from dataclasses import dataclass, replace
from typing import Protocol

from penstock.transfer.layout import KvPart, Place
from penstock.transfer.link import SenderLink
from penstock.transfer.memory import KvMemory
from penstock.transfer.segments import INLINE_BYTES, Ack, SegmentHeader


@dataclass(frozen=True, slots=True)
class Segment:
    """A part on its way: where it lies here, and where it belongs there. The header lacks only its checksum."""

    header: SegmentHeader
    memory: KvMemory
    source: Place
    destination: Place
    destination_rank: int

    @property
    def part(self) -> KvPart:
        return self.header.part

    @property
    def num_bytes(self) -> int:
        return self.header.num_bytes

    @property
    def is_inline(self) -> bool:
        """Whether the payload goes over the control socket, whatever the transport."""
        return self.num_bytes <= INLINE_BYTES

    def checked(self, checksum: int) -> SegmentHeader:
        return replace(self.header, checksum=checksum)


class Carrier(Protocol):
    """One transport's connection to one receiver."""

    @property
    def transport(self) -> str: ...

    @property
    def link(self) -> SenderLink: ...

    async def begin(self, header: SegmentHeader) -> Ack | None:
        """Ask for leave to write, where writing is not itself a question; None where it is.

        Not asked for a push of inline segments only.
        """
        ...

    async def carry(self, segment: Segment) -> Ack:
        """Move the payload and return the receiver's answer. Returning or raising, it no longer touches any pool."""
        ...

    async def close(self) -> None: ...
