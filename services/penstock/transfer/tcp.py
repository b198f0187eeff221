"""Plain TCP: header and payload on one stream, read straight into the destination blocks.

The slowest of the transports and the only one that works everywhere, so it must be allowed by name.
"""

import asyncio
import socket

from penstock.core.errors import TransferFailed
from penstock.transfer.carrier import Segment
from penstock.transfer.copies import CopyLane
from penstock.transfer.inbox import Target
from penstock.transfer.inline import carry_inline
from penstock.transfer.link import SenderLink
from penstock.transfer.policy import TCP
from penstock.transfer.segments import Ack, SegmentHeader
from penstock.transfer.sockets import FrameSocket


class TcpCarrier:
    transport = TCP

    def __init__(self, link: SenderLink, lane: CopyLane) -> None:
        self.link = link
        self._lane = lane
        link.start()

    async def begin(self, header: SegmentHeader) -> Ack | None:
        return None

    async def carry(self, segment: Segment) -> Ack:
        return await carry_inline(segment, self.link, self._lane)

    async def close(self) -> None:
        await self.link.close()


class TcpArrivals:
    transport = TCP
    details = b""

    async def greeted(self, sock: FrameSocket) -> None:
        return

    async def settle(self, connection_id: int, header: SegmentHeader, target: Target | None) -> int:
        raise TransferFailed("a segment over TCP without its payload")


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
