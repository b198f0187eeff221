"""The receiving end of every transport: accepts connections, lets segments in through the inbox, answers each.

A transport adds how its payload arrives (`Arrivals`); what may arrive and what counts is the inbox's alone.
"""

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from penstock.core.errors import TransferFailed
from penstock.transfer.copies import CopyLane, hash_rows
from penstock.transfer.counters import TransportCounters
from penstock.transfer.inbox import Inbox, Target
from penstock.transfer.inline import receive_inline
from penstock.transfer.policy import Peer
from penstock.transfer.segments import Ack, Hello, Kind, SegmentHeader, Status, Welcome
from penstock.transfer.sockets import FrameSocket

MAX_UNANSWERED = 64  # segments of one connection being received or verified; a sender's credits are far below
GREETING_TIMEOUT_S = 5.0
ACCEPT_PAUSE_S = 0.1

logger = logging.getLogger(__name__)


class Arrivals(Protocol):
    """What one transport does when a segment arrives."""

    @property
    def transport(self) -> str: ...

    @property
    def details(self) -> bytes:
        """Sent with every welcome."""
        ...

    async def greeted(self, sock: FrameSocket) -> None:
        """Send what the peer needs beyond the welcome."""
        ...

    async def settle(self, connection_id: int, header: SegmentHeader, target: Target | None) -> int:
        """Finish what does not come over the socket; return the checksum of what lies in the destination."""
        ...


@dataclass(frozen=True, slots=True)
class Party:
    """What the connections of a worker share."""

    me: Peer
    inbox: Inbox
    lane: CopyLane
    connected: Callable[[Peer], None]
    gone: Callable[[Peer], None]


class Listener:
    """Serves one transport on one listening socket until closed."""

    def __init__(self, sock: socket.socket, arrivals: Arrivals, party: Party, counters: TransportCounters) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._arrivals = arrivals
        self._party = party
        self._counters = counters
        self._connection_ids = itertools.count(1)
        self._task = asyncio.create_task(self._run(), name=f"kv-listen-{arrivals.transport}")

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._sock.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as connections:
            while True:
                try:
                    sock, _ = await loop.sock_accept(self._sock)
                    accepted = FrameSocket(sock)
                except OSError as error:  # out of descriptors, or the caller left already: neither may end listening
                    logger.warning("cannot accept a transfer connection: %s", error)
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                else:
                    connections.create_task(self._serve(accepted))

    async def _serve(self, sock: FrameSocket) -> None:
        connection_id = next(self._connection_ids) & 0xFFFFFFFF
        try:
            peer = await self._greet(sock, connection_id)
            if peer is not None:
                await self._attend(sock, peer, connection_id)
        except (EOFError, TransferFailed, TimeoutError) as error:
            logger.info("transfer connection over %s ended: %s", self._arrivals.transport, error)
        finally:
            sock.close()

    async def _greet(self, sock: FrameSocket, connection_id: int) -> Peer | None:
        async with asyncio.timeout(GREETING_TIMEOUT_S):
            kind, body = await sock.receive_frame()
            if kind is not Kind.HELLO or not _is_ours(sock.sock):
                return None
            hello = Hello.decode(body)
            if hello.receiver != self._party.me:
                await sock.send(Welcome(Status.INCARNATION).encode())
                return None
            await sock.send(Welcome(Status.OK, connection_id, self._arrivals.details).encode())
            await self._arrivals.greeted(sock)
            return hello.sender

    async def _attend(self, sock: FrameSocket, peer: Peer, connection_id: int) -> None:
        connection = _Connection(sock, peer, connection_id)
        sock.read_ahead()
        self._party.connected(peer)
        try:
            async with asyncio.TaskGroup() as settling:
                while True:
                    await self._next(connection, settling)
        except* (EOFError, TransferFailed) as errors:
            logger.info("worker %s left the transfer connection: %s", peer[0], errors.exceptions[0])
        finally:
            self._party.gone(peer)

    async def _next(self, connection: "_Connection", settling: asyncio.TaskGroup) -> None:
        kind, body = await connection.sock.receive_frame()
        if kind not in (Kind.SEGMENT, Kind.INLINE, Kind.OPEN):
            raise TransferFailed(f"a {kind.name} frame where a segment belongs")
        header = SegmentHeader.decode(body)
        if kind is Kind.OPEN:
            status = self._party.inbox.admits(connection.peer, header)
            await connection.sock.send(Ack(header.reservation_id, header.sequence, status).encode())
            return
        answer = self._party.inbox.accept(connection.peer, header, self._counters)
        target = answer if isinstance(answer, Target) else None
        await connection.unanswered.acquire()
        if kind is Kind.INLINE:
            try:
                await receive_inline(connection.sock, header, target)
            except BaseException:
                self._party.inbox.abandon(target)
                raise
        settling.create_task(self._settle(connection, kind, header, answer))

    async def _settle(
        self, connection: "_Connection", kind: Kind, header: SegmentHeader, answer: Status | Target
    ) -> None:
        inbox = self._party.inbox
        target = answer if isinstance(answer, Target) else None
        try:
            if kind is not Kind.INLINE:
                checksum = await self._arrivals.settle(connection.connection_id, header, target)
            elif target is not None:
                checksum = await self._party.lane.run(hash_rows(target.memory.pool, target.rows))
        except BaseException:
            inbox.abandon(target)
            raise
        finally:
            connection.unanswered.release()
        if isinstance(answer, Target):
            answer = inbox.complete(connection.peer, header, answer, checksum, self._counters)
        await connection.sock.send(Ack(header.reservation_id, header.sequence, answer).encode())


class _Connection:
    def __init__(self, sock: FrameSocket, peer: Peer, connection_id: int) -> None:
        self.sock = sock
        self.peer = peer
        self.connection_id = connection_id
        self.unanswered = asyncio.Semaphore(MAX_UNANSWERED)


def _is_ours(sock: socket.socket) -> bool:
    """Over a Unix socket, only processes of the same user may map our memory."""
    if sock.family != socket.AF_UNIX:
        return True
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], "little") == os.getuid()
