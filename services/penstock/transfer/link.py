"""The sender's control connection to one receiver: greets it, sends headers, hands each ack to who waits for it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.core.errors import PenstockError, TransferFailed
from penstock.transfer.policy import Peer
from penstock.transfer.segments import Ack, Hello, Kind, Status, Welcome, error_for
from penstock.transfer.sockets import FrameSocket


class SenderLink:
    """Open until the peer closes it, dies, or says something that makes no sense."""

    def __init__(self, sock: FrameSocket, peer: Peer, welcome: Welcome) -> None:
        self.socket = sock
        self.peer = peer
        self.welcome = welcome
        self._waiting: dict[int, asyncio.Future[Ack]] = {}
        self._failure: PenstockError | None = None
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, sock: socket.socket, me: Peer, peer: Peer) -> "SenderLink":
        """Greet over a connected socket; IncarnationMismatch when the peer is not the life of it that is meant."""
        frames = FrameSocket(sock)
        try:
            await frames.send(Hello(me, peer).encode())
            kind, body = await frames.receive_frame()
            if kind is not Kind.WELCOME:
                raise TransferFailed(f"Worker {peer[0]} did not answer the greeting.")
            welcome = Welcome.decode(body)
            if welcome.status is not Status.OK:
                raise error_for(welcome.status, peer[0])
        except EOFError as error:
            frames.close()
            raise TransferFailed(f"Worker {peer[0]} closed the transfer connection during the greeting.") from error
        except BaseException:
            frames.close()
            raise
        return cls(frames, peer, welcome)

    def start(self) -> None:
        """Begin to read acks; whatever else the greeting carries has been read by now."""
        self.socket.read_ahead()
        self._reader = asyncio.create_task(self._read(), name=f"kv-acks-{self.peer[0]}")

    @property
    def is_open(self) -> bool:
        return self._failure is None and self.socket.is_open

    @contextmanager
    def awaiting(self, sequence: int) -> "Iterator[asyncio.Future[Ack]]":
        """The answer to `sequence`, awaited from before it is asked for, so that none can be missed."""
        if self._failure is not None:
            raise self._failure
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._waiting[sequence] = answer
        try:
            yield answer
        finally:
            del self._waiting[sequence]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # seen, even if the caller left for another reason

    async def _read(self) -> None:
        try:
            while True:
                kind, body = await self.socket.receive_frame()
                if kind is not Kind.ACK:
                    raise TransferFailed(f"Worker {self.peer[0]} sent a {kind.name} where an ack belongs.")
                ack = Ack.decode(body)
                answer = self._waiting.get(ack.sequence)
                if answer is not None and not answer.done():
                    answer.set_result(ack)
        except EOFError as error:
            self._fail(TransferFailed(f"Worker {self.peer[0]} closed the transfer connection ({error})."))
        except TransferFailed as error:
            self._fail(error)

    def _fail(self, error: PenstockError) -> None:
        self._failure = self._failure or error
        self.socket.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)

    async def close(self) -> None:
        self._fail(TransferFailed(f"The transfer channel to worker {self.peer[0]} was closed."))
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
