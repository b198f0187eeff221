"""The few calls of UCX that Penstock uses, on the event loop; the one module that knows the `ucxx` binding.

ucx-py (archived) offers the same calls; to use it, this file alone would change. Facts this rests on, all measured
(shared/research/dependencies.md): endpoints are made from worker addresses, never through a listener, because a
listener's error handling disables shared memory; progress happens in the event loop in blocking mode, because a
progress thread halves the speed. Without error handling UCX does not report a dead peer: whoever waits here needs a
deadline.
"""

import asyncio
from typing import Any

import numpy as np

from penstock.core.errors import TransferFailed, TransportUnavailable
from penstock.runtime import clock
from penstock.transfer.memory import Bytes

try:
    from ucxx._lib import libucxx
    from ucxx._lib.arr import Array
except ImportError:  # an optional extra
    libucxx = None

TURN_S = 0.0005  # of progress before other tasks of the loop get theirs; one call may copy a whole message
CONFIG = {"TLS": "^sysv"}  # System V segments can outlive a killed process; the other kinds of shared memory cannot


def is_available() -> bool:
    return libucxx is not None


class UcxWorker:
    """One UCX worker of this process, progressed by the running event loop."""

    def __init__(self) -> None:
        if libucxx is None:
            raise TransportUnavailable("UCX is not installed; install penstock[ucx] or remove ucx from the settings.")
        features = (libucxx.Feature.TAG, libucxx.Feature.WAKEUP)
        self._loop = asyncio.get_running_loop()
        self._context: Any = libucxx.UCXContext(CONFIG, features)
        self._worker: Any = libucxx.UCXWorker(self._context)
        self._worker.init_blocking_progress_mode()
        self._event_fd: int = self._worker.epoll_file_descriptor
        self._pending: dict[Any, tuple[asyncio.Future[None], Bytes]] = {}  # request -> (its future, memory it needs)
        self._wanted: dict[int, tuple[asyncio.Future[None], Bytes]] = {}  # tag -> (future, where it is to go)
        self._is_turn_due = False
        self._is_closed = False
        self._loop.add_reader(self._event_fd, self._turn)
        self._turn()

    @property
    def address(self) -> bytes:
        """What a peer needs to make an endpoint."""
        return bytes(self._worker.address.tobytes())

    def connect(self, address: bytes, has_error_handling: bool) -> Any:
        """An endpoint to the worker at `address`; both ends must agree on error handling."""
        try:
            remote = libucxx.UCXAddress.create_from_buffer(address)
            return self._worker.create_endpoint_from_worker_address(remote, has_error_handling)
        except libucxx.UCXError as error:
            raise TransferFailed(f"UCX cannot reach the peer: {error}.") from error

    async def send(self, endpoint: Any, data: Bytes, tag: int) -> None:
        """Send `data`, which UCX reads until this returns; when cancelled, until the message is gone or the end."""
        request = endpoint.tag_send(Array(data), libucxx.UCXXTag(tag))
        await self._completed(request, data)

    async def receive(self, data: Bytes, tag: int) -> None:
        """Receive the message with `tag`. Nothing is posted before it has begun to arrive, so nothing is left behind
        when it never does."""
        arrived: asyncio.Future[None] = self._loop.create_future()
        self._wanted[tag] = (arrived, data)
        self._schedule()
        try:
            await arrived
        finally:
            del self._wanted[tag]
        request = self._worker.tag_recv(Array(data), libucxx.UCXXTag(tag), libucxx.UCXXTagMaskFull)
        await self._completed(request, data)

    def is_using(self, data: Bytes) -> bool:
        """Whether an abandoned operation may still touch this memory."""
        return any(np.may_share_memory(memory, data) for _, memory in self._pending.values())

    async def _completed(self, request: Any, data: Bytes) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._pending[request] = (future, data)
        self._schedule()
        await future

    def _schedule(self) -> None:
        if not self._is_turn_due and not self._is_closed:
            self._is_turn_due = True
            self._loop.call_soon(self._turn_due)

    def _turn_due(self) -> None:
        self._is_turn_due = False
        self._turn()

    def _turn(self) -> None:
        """Make progress; then either come back soon or sleep until UCX has an event."""
        if self._is_closed:
            return
        until_s = clock.now_s() + TURN_S
        is_busy = self._worker.progress_once()
        while is_busy and clock.now_s() < until_s:
            is_busy = self._worker.progress_once()
        self._settle()
        if is_busy or not self._worker.arm():
            self._schedule()

    def _settle(self) -> None:
        for tag, (arrived, _) in self._wanted.items():
            if not arrived.done() and self._worker.tag_probe(libucxx.UCXXTag(tag)).matched:
                arrived.set_result(None)
        for request in [request for request in self._pending if request.completed]:
            future, _ = self._pending.pop(request)
            if future.done():
                continue
            try:
                request.check_error()
                future.set_result(None)
            except libucxx.UCXError as error:
                future.set_exception(TransferFailed(f"UCX reported: {error}."))

    def close(self) -> None:
        """Idempotent. UCX frees its descriptors and memory when the last endpoint made here is dropped as well."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._event_fd)
        for future, _ in (*self._pending.values(), *self._wanted.values()):
            if not future.done():
                future.set_exception(TransferFailed("The UCX worker was closed."))
        self._worker.cancel_inflight_requests()
        self._pending.clear()
        self._worker = self._context = None
