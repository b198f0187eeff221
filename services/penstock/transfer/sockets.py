"""A stream socket that reads and writes straight from and into memory of ours, on the event loop.

asyncio's transports copy what they receive into buffers of their own; a KV payload must land in its blocks, and must
stop landing there the moment its reservation is cancelled. Hence a non-blocking socket and the loop's readiness calls.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from penstock.core.errors import TransferFailed
from penstock.transfer.segments import PREFIX, Kind, parse_prefix

MAX_PIECES = 64  # buffers handed to one system call
MAX_CALLS = 16  # system calls in a row before other tasks get a turn
SCRATCH_BYTES = 256 << 10
MAX_AHEAD_BYTES = 4 << 10


class FrameSocket:
    """Frames and payloads over one connected socket. Reads are for one task; writes are serialised by `lock`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            _tune_tcp(sock)
        self.sock = sock
        self.lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        self._ahead = b""  # read already, not asked for yet
        self._max_ahead_bytes = 0

    def read_ahead(self) -> None:
        """From here on one call may read several frames. Not before: descriptors come with a byte of their own, which
        a larger read would swallow. Little, because what is read ahead of a payload is copied once more."""
        self._max_ahead_bytes = MAX_AHEAD_BYTES

    @property
    def is_open(self) -> bool:
        return self.sock.fileno() >= 0

    def close(self) -> None:
        """Idempotent; whoever waits on the socket gets TransferFailed."""
        if not self.is_open:
            return
        self._loop.remove_reader(self.sock)
        self._loop.remove_writer(self.sock)
        self.sock.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(TransferFailed("The transfer connection was closed."))

    async def send(self, frame: bytes, payload: Sequence[memoryview] = ()) -> None:
        """Write a frame and its payload. A write that is cut short breaks the framing, so it closes the socket."""
        pieces = [memoryview(frame), *payload]
        async with self.lock:
            try:
                await self._send(pieces)
            except BaseException:
                if len(pieces[0]) < len(frame):
                    self.close()
                raise

    async def _send(self, pieces: list[memoryview]) -> None:
        first, num_calls = 0, 0
        while first < len(pieces):
            try:
                sent = self._open().sendmsg(pieces[first : first + MAX_PIECES])
            except (BlockingIOError, InterruptedError):
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
                continue
            except OSError as error:
                raise TransferFailed(f"The transfer connection broke while sending: {error}.") from error
            first = _advance(pieces, first, sent)
            num_calls = await self._share(num_calls)

    async def receive_frame(self) -> tuple[Kind, bytes]:
        """The next frame; EOFError when the peer closed the connection."""
        await self._fill(PREFIX.size)
        kind, length = parse_prefix(self._ahead[: PREFIX.size])
        end = PREFIX.size + length
        await self._fill(end)
        body, self._ahead = self._ahead[PREFIX.size : end], self._ahead[end:]
        return kind, body

    async def _fill(self, num_bytes: int) -> None:
        """Have at least `num_bytes` read ahead."""
        while len(self._ahead) < num_bytes:
            try:
                read = self._open().recv(max(num_bytes - len(self._ahead), self._max_ahead_bytes))
            except (BlockingIOError, InterruptedError):
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            except OSError as error:
                raise EOFError(str(error)) from error
            if not read:
                raise EOFError("the peer closed the connection")
            self._ahead += read

    async def receive(self, pieces: list[memoryview], is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Fill `pieces`. Once `is_wanted` says no, the rest is read and dropped; returns whether all was wanted."""
        first, num_calls = self._take_ahead(pieces), 0
        while first < len(pieces):
            if not is_wanted():
                await self.discard(sum(piece.nbytes for piece in pieces[first:]))
                return False
            try:
                received = self._open().recvmsg_into(pieces[first : first + MAX_PIECES])[0]
            except (BlockingIOError, InterruptedError):
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            except OSError as error:
                raise EOFError(str(error)) from error
            if not received and pieces[first].nbytes:
                raise EOFError("the peer closed the connection")
            first = _advance(pieces, first, received)
            num_calls = await self._share(num_calls)
        return True

    def _take_ahead(self, pieces: list[memoryview]) -> int:
        """Move what has been read ahead into `pieces`; index of the first piece not full."""
        first = 0
        while self._ahead and first < len(pieces):
            size = min(len(self._ahead), pieces[first].nbytes)
            pieces[first][:size] = self._ahead[:size]
            self._ahead = self._ahead[size:]
            first = _advance(pieces, first, size)
        return first

    async def discard(self, num_bytes: int) -> None:
        """Read and drop a payload nobody wants."""
        scratch = memoryview(bytearray(min(num_bytes, SCRATCH_BYTES)))
        while num_bytes:
            size = min(num_bytes, len(scratch))
            await self.receive([scratch[:size]])
            num_bytes -= size

    async def send_descriptors(self, descriptors: list[int]) -> None:
        """Hand file descriptors to the process at the other end (Unix sockets only)."""
        async with self.lock:
            while True:
                try:
                    socket.send_fds(self._open(), [b"F"], descriptors)
                    return
                except BlockingIOError:
                    await self._ready(self._loop.add_writer, self._loop.remove_writer)
                except OSError as error:
                    raise TransferFailed(f"The memory could not be shared: {error}.") from error

    async def receive_descriptors(self, num_descriptors: int) -> list[int]:
        """File descriptors sent along with one byte (SCM_RIGHTS)."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._open(), 1, num_descriptors)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            if not data:
                raise EOFError("the peer closed the connection")
            return list(descriptors)

    def _open(self) -> socket.socket:
        if not self.is_open:
            raise TransferFailed("The transfer connection is closed.")
        return self.sock

    async def _share(self, num_calls: int) -> int:
        if num_calls + 1 < MAX_CALLS:
            return num_calls + 1
        await asyncio.sleep(0)
        return 0

    async def _ready(
        self,
        add: Callable[[socket.socket, Callable[[], None]], None],
        remove: Callable[[socket.socket], bool],
    ) -> None:
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        add(self.sock, lambda: None if waiter.done() else waiter.set_result(None))
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if self.is_open:
                remove(self.sock)


def _advance(pieces: list[memoryview], first: int, num_bytes: int) -> int:
    """Index of the first piece not fully moved; that piece is shortened to its rest. Empty pieces are skipped."""
    while first < len(pieces) and num_bytes >= pieces[first].nbytes:
        num_bytes -= pieces[first].nbytes
        first += 1
    if num_bytes:
        pieces[first] = pieces[first][num_bytes:]
    return first


def _tune_tcp(sock: socket.socket) -> None:
    """No batching delay, and a peer host that vanished is noticed within about ten seconds."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
