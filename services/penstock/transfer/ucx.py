"""UCX: RDMA between hosts that have it, shared memory within one. Headers use a socket, payloads are tagged messages.

The socket gives what UCX endpoints without error handling do not: it breaks when the peer dies. Payloads are received
into a staging buffer that stays in cache, checked and copied from there: UCX then never holds a pool's memory, so a
cancelled reservation is safe the moment it is cancelled, whatever a slow peer still sends.
"""

import asyncio
import struct
from functools import partial
from typing import Any

from penstock.transfer.carrier import Segment
from penstock.transfer.choose import RDMA_MARK
from penstock.transfer.copies import CopyLane, check_and_scatter, gather_and_hash, hash_rows
from penstock.transfer.inbox import Target
from penstock.transfer.inline import carry_inline
from penstock.transfer.link import SenderLink
from penstock.transfer.memory import Bytes, page_aligned
from penstock.transfer.policy import UCX
from penstock.transfer.segments import Ack, SegmentHeader
from penstock.transfer.sockets import FrameSocket
from penstock.transfer.ucx_adapter import UcxWorker


def payload_tag(connection_id: int, sequence: int) -> int:
    """Tags are unique at a receiver: it hands out the connection ids."""
    return connection_id << 32 | sequence & 0xFFFFFFFF


class StagingBuffers:
    """Reused memory for payloads: fresh pages would cost as much as the copy, and RDMA would register each anew."""

    def __init__(self, worker: UcxWorker, max_free: int = 8) -> None:
        self._worker = worker
        self._free: list[Bytes] = []
        self._max_free = max_free

    def take(self, num_bytes: int) -> Bytes:
        """A buffer of at least `num_bytes`; the most recently used one, which is likeliest in cache."""
        for index in range(len(self._free) - 1, -1, -1):
            if len(self._free[index]) >= num_bytes:
                return self._free.pop(index)
        return page_aligned(1 << (num_bytes - 1).bit_length())

    def give_back(self, buffer: Bytes) -> None:
        if len(self._free) < self._max_free and not self._worker.is_using(buffer):
            self._free.append(buffer)


class UcxCarrier:
    """Sends a contiguous part from the pool, any other from a staging buffer."""

    transport = UCX

    def __init__(self, link: SenderLink, worker: UcxWorker, lane: CopyLane, staging: StagingBuffers) -> None:
        self.link = link
        self._worker = worker
        self._lane = lane
        self._staging = staging
        has_error_handling, address = struct.unpack_from("?", link.welcome.details)[0], link.welcome.details[1:]
        self._endpoint: Any = worker.connect(address, has_error_handling)
        link.start()

    async def begin(self, header: SegmentHeader) -> Ack | None:
        return None

    async def carry(self, segment: Segment) -> Ack:
        if segment.is_inline:
            return await carry_inline(segment, self.link, self._lane)
        rows = segment.source.rows(segment.part)
        offsets, lengths = rows.runs()
        if len(offsets) == 1:
            payload = segment.memory.pool[offsets[0] : offsets[0] + lengths[0]]
            checksum = await self._lane.run(hash_rows(segment.memory.pool, rows))
            return await self._send(segment, payload, checksum)
        buffer = self._staging.take(segment.num_bytes)
        try:
            payload = buffer[: segment.num_bytes]
            checksum = await self._lane.run(gather_and_hash(segment.memory.pool, rows, payload))
            return await self._send(segment, payload, checksum)
        finally:
            self._staging.give_back(buffer)

    async def _send(self, segment: Segment, payload: Bytes, checksum: int) -> Ack:
        tag = payload_tag(self.link.welcome.connection_id, segment.header.sequence)
        with self.link.awaiting(segment.header.sequence) as answer:
            await self.link.socket.send(segment.checked(checksum).encode())
            sending = asyncio.create_task(self._worker.send(self._endpoint, payload, tag))
            sending.add_done_callback(partial(_pass_failure, answer))
            try:
                ack = await answer
                await sending  # UCX may use the payload a moment longer than the receiver
                return ack
            finally:
                sending.cancel()

    async def close(self) -> None:
        await self.link.close()
        self._endpoint = None  # UCX closes it with its last reference


def _pass_failure(answer: asyncio.Future[Ack], sending: asyncio.Task[None]) -> None:
    """A payload that could not be sent will not be answered."""
    error = None if sending.cancelled() else sending.exception()
    if error is not None and not answer.done():
        answer.set_exception(error)


class UcxArrivals:
    transport = UCX

    def __init__(self, worker: UcxWorker, lane: CopyLane, has_error_handling: bool) -> None:
        self._worker = worker
        self._lane = lane
        self._staging = StagingBuffers(worker)
        self._has_error_handling = has_error_handling

    @property
    def details(self) -> bytes:
        return struct.pack("?", self._has_error_handling) + self._worker.address

    async def greeted(self, sock: FrameSocket) -> None:
        return

    async def settle(self, connection_id: int, header: SegmentHeader, target: Target | None) -> int:
        buffer = self._staging.take(header.num_bytes)
        try:
            payload = buffer[: header.num_bytes]
            await self._worker.receive(payload, payload_tag(connection_id, header.sequence))
            if target is None:
                return 0
            pool, rows = target.memory.pool, target.rows
            placing = check_and_scatter(payload, header.checksum, pool, rows, lambda: target.is_live)
            return await self._lane.run(placing)
        finally:
            self._staging.give_back(buffer)


def endpoint_address(address: bytes, has_rdma: bool) -> bytes:
    """`address` of the control socket, marked when this worker can do RDMA."""
    return RDMA_MARK + address if has_rdma else address


def control_address(address: bytes) -> bytes:
    return address.removeprefix(RDMA_MARK)
