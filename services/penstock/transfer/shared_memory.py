"""Shared memory on one host: the sender maps the receiver's pool and writes into it, one copy in all.

The control connection is a Unix socket in the abstract namespace (no file to leave behind) that also carries the pools'
descriptors. Writing is one-sided, so the sender asks before each push that is not inline (`begin`), and the
receiver of a cancelled reservation must not reuse its blocks until the sender has confirmed or its connection is gone.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence

from penstock.core.errors import TransferFailed
from penstock.core.kv_layout import KvLayout
from penstock.transfer.carrier import Segment
from penstock.transfer.copies import CopyLane, Sliced, copy_and_hash, hash_rows
from penstock.transfer.inbox import Target
from penstock.transfer.inline import carry_inline
from penstock.transfer.layout import plan_copy
from penstock.transfer.link import SenderLink
from penstock.transfer.memory import KvMemory, map_pool
from penstock.transfer.policy import SHARED_MEMORY
from penstock.transfer.segments import Ack, Kind, SegmentHeader
from penstock.transfer.sockets import FrameSocket


class SharedMemoryCarrier:
    """Writes into the peer's pools, then sends the header."""

    transport = SHARED_MEMORY

    def __init__(self, link: SenderLink, pools: Sequence[KvMemory], lane: CopyLane) -> None:
        self.link = link
        self._pools = tuple(pools)  # the peer's, by tensor-parallel rank
        self._lane = lane
        link.start()

    @classmethod
    async def open(cls, link: SenderLink, layouts: Sequence[KvLayout], lane: CopyLane) -> "SharedMemoryCarrier":
        """Receive and map the peer's pools, in the order of `layouts`."""
        descriptors = await link.socket.receive_descriptors(len(layouts))
        try:
            if len(descriptors) != len(layouts):
                raise TransferFailed(f"Worker {link.peer[0]} shared {len(descriptors)} of {len(layouts)} pools.")
            pools = [
                KvMemory(layout, map_pool(descriptor, layout.num_bytes))
                for layout, descriptor in zip(layouts, descriptors, strict=True)
            ]
        except (OSError, ValueError) as error:
            raise TransferFailed(f"Worker {link.peer[0]}'s pool cannot be mapped here: {error}.") from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return cls(link, pools, lane)

    async def begin(self, header: SegmentHeader) -> Ack | None:
        with self.link.awaiting(header.sequence) as answer:
            await self.link.socket.send(header.encode(Kind.OPEN))
            return await answer

    async def carry(self, segment: Segment) -> Ack:
        if segment.is_inline:
            return await carry_inline(segment, self.link, self._lane)
        checksum = await self._lane.run(self._write(segment))
        with self.link.awaiting(segment.header.sequence) as answer:
            await self.link.socket.send(segment.checked(checksum).encode())
            return await answer

    def _write(self, segment: Segment) -> Sliced[int]:
        source, destination = plan_copy(segment.source, segment.destination, segment.part)
        pool = self._pools[segment.destination_rank].pool
        return copy_and_hash(segment.memory.pool, pool, source, destination)

    async def close(self) -> None:
        """Unmap only when the last write is done: closing the link tells the peer that nothing can be written."""
        for pool in self._pools:
            pool.close()
        await self.link.close()


class SharedMemoryArrivals:
    transport = SHARED_MEMORY
    details = b""

    def __init__(self, memories: Sequence[KvMemory], lane: CopyLane) -> None:
        self._descriptors = [memory.fd for memory in memories if memory.fd is not None]
        self._lane = lane

    async def greeted(self, sock: FrameSocket) -> None:
        await sock.send_descriptors(self._descriptors)

    async def settle(self, connection_id: int, header: SegmentHeader, target: Target | None) -> int:
        if target is None:
            return 0
        return await self._lane.run(hash_rows(target.memory.pool, target.rows))


def listen() -> tuple[socket.socket, bytes]:
    """A listening Unix socket without a file, and its name as an endpoint shows it."""
    name = f"penstock-kv-{secrets.token_hex(8)}".encode()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(b"\0" + name)
    sock.listen(128)
    return sock, name


async def dial(address: bytes) -> socket.socket:
    """Connect to what `listen` announced; OSError when nobody answers."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, b"\0" + address)
    except BaseException:
        sock.close()
        raise
    return sock
