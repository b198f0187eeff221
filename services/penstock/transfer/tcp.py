"""Plain TCP: header and payload on one stream, read straight into the destination blocks.

The slowest of the transports and the only one that works everywhere, so it must be allowed by name.
"""

import asyncio
import socket

from penstock.transfer.carrier import Segment
from penstock.transfer.copies import CopyLane, hash_rows
from penstock.transfer.inbox import Target
from penstock.transfer.layout import Rows
from penstock.transfer.link import SenderLink
from penstock.transfer.memory import KvMemory
from penstock.transfer.policy import TCP
from penstock.transfer.segments import Ack, SegmentHeader
from penstock.transfer.sockets import FrameSocket


def views(memory: KvMemory, rows: Rows) -> list[memoryview]:
    """The part as few contiguous pieces of the pool."""
    offsets, lengths = rows.runs()
    ends = (offsets + lengths).tolist()
    return [memory.view[begin:end] for begin, end in zip(offsets.tolist(), ends, strict=True)]


class TcpCarrier:
    """Sends from the pool: the kernel copies out of the source blocks, nobody gathers first."""

    transport = TCP

    def __init__(self, link: SenderLink, lane: CopyLane) -> None:
        self.link = link
        self._lane = lane
        link.start()

    async def begin(self, header: SegmentHeader) -> Ack | None:
        return None

    async def carry(self, segment: Segment) -> Ack:
        rows = segment.source.rows(segment.part)
        checksum = await self._lane.run(hash_rows(segment.memory.pool, rows))
        with self.link.awaiting(segment.header.sequence) as answer:
            await self.link.socket.send(segment.checked(checksum).encode(), views(segment.memory, rows))
            return await answer

    async def close(self) -> None:
        await self.link.close()


class TcpArrivals:
    transport = TCP
    details = b""

    def __init__(self, lane: CopyLane) -> None:
        self._lane = lane

    async def greeted(self, sock: FrameSocket) -> None:
        return

    async def take(self, sock: FrameSocket, header: SegmentHeader, target: Target | None) -> None:
        if target is None:
            await sock.discard(header.num_bytes)
        else:
            await sock.receive(views(target.memory, target.rows), lambda: target.is_live)

    async def settle(self, connection_id: int, header: SegmentHeader, target: Target | None) -> int:
        if target is None:
            return 0
        return await self._lane.run(hash_rows(target.memory.pool, target.rows))


def listen(host: str) -> tuple[socket.socket, bytes]:
    """A listening socket on a free port of `host`, and its address as an endpoint shows it."""
    sock = socket.create_server((host, 0), backlog=128)
    return sock, f"{host}:{sock.getsockname()[1]}".encode()


async def dial(address: bytes) -> socket.socket:
    """Connect to what `listen` announced; OSError when nobody answers."""
    host, port = address.decode().rsplit(":", 1)
    loop = asyncio.get_running_loop()
    family, kind, protocol, _, target = (await loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM))[0]
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock
