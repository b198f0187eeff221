"""KV arriving at a worker: which reservations it expects, and when each is whole.

Step 6 of a request's life: decode calls `expect` when it grants a reservation and starts the sequence `on_complete`.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from penstock.core.errors import TransportUnavailable
from penstock.core.kv_layout import TransferEndpoint
from penstock.transfer import shared_memory, tcp, ucx
from penstock.transfer.copies import CopyLane
from penstock.transfer.counters import TransferCounters
from penstock.transfer.hosts import host_id, rdma_devices
from penstock.transfer.inbox import Inbox
from penstock.transfer.listener import Arrivals, Listener, Party
from penstock.transfer.memory import KvMemory
from penstock.transfer.policy import SHARED_MEMORY, TCP, UCX, Peer, TransferPolicy, check_policy
from penstock.transfer.ucx_adapter import UcxWorker


class KvReceiver:
    """One per worker process; listens on every allowed transport."""

    def __init__(self, me: Peer) -> None:
        self.me = me
        self.on_peer_gone: Callable[[Peer], None] | None = None
        self.counters = TransferCounters()
        self._connections: Counter[Peer] = Counter()
        self._endpoints: list[TransferEndpoint] = []
        self._listeners: list[Listener] = []
        self._memories: tuple[KvMemory, ...] = ()
        self._inbox: Inbox | None = None
        self._lane = CopyLane()
        self._ucx: UcxWorker | None = None

    async def start(self, memory: KvMemory | Sequence[KvMemory], policy: TransferPolicy) -> None:
        """Listen; a worker of several tensor-parallel ranks passes one pool per rank, in the order of its layouts."""
        check_policy(policy)
        self._memories = (memory,) if isinstance(memory, KvMemory) else tuple(memory)
        self._inbox = Inbox(self.me, self._memories)
        try:
            for transport in policy.allowed:
                self._listen(transport, policy)
        except BaseException:
            await self.close()
            raise

    def _listen(self, transport: str, policy: TransferPolicy) -> None:
        if transport == SHARED_MEMORY:
            if any(memory.fd is None for memory in self._memories):
                raise TransportUnavailable(
                    "This KV pool cannot be shared with other processes; allow ucx or tcp instead."
                )
            sock, address = shared_memory.listen()
            self._serve(sock, address, shared_memory.SharedMemoryArrivals(self._memories, self._lane))
        elif transport == UCX:
            self._ucx = UcxWorker()
            sock, address = tcp.listen(policy.host)
            address = ucx.endpoint_address(address, has_rdma=bool(rdma_devices()))
            self._serve(sock, address, ucx.UcxArrivals(self._ucx, self._lane, policy.has_ucx_error_handling))
        elif transport == TCP:
            sock, address = tcp.listen(policy.host)
            self._serve(sock, address, tcp.TcpArrivals())

    def _serve(self, sock: socket.socket, address: bytes, arrivals: Arrivals) -> None:
        party = Party(self.me, self._open_inbox(), self._lane, self._connected, self._gone)
        self._listeners.append(Listener(sock, arrivals, party, self.counters.of(arrivals.transport)))
        self._endpoints.append(TransferEndpoint(arrivals.transport, address, host_id()))

    def _open_inbox(self) -> Inbox:
        assert self._inbox is not None, "start() the receiver first"
        return self._inbox

    @property
    def endpoints(self) -> tuple[TransferEndpoint, ...]:
        return tuple(self._endpoints)

    @property
    def num_open_reservations(self) -> int:
        return self._open_inbox().num_open

    def expect(
        self,
        peer: Peer,
        reservation_id: int,
        block_ids: Sequence[int],
        first_token: int,
        num_tokens: int,
        on_complete: Callable[[], None],
    ) -> None:
        """`block_ids` hold tokens [first_token, first_token + num_tokens). `on_complete` runs on the event loop,
        after this call and once, when every (layer, token, head) has arrived and checked out."""
        loop = asyncio.get_running_loop()
        inbox = self._open_inbox()
        inbox.expect(peer, reservation_id, block_ids, first_token, num_tokens, partial(_call_soon, loop, on_complete))

    def cancel(self, peer: Peer, reservation_id: int) -> None:
        """Refuse whatever still arrives for it. A no-op for one that is complete or unknown.

        UCX and TCP no longer write its blocks when this returns. A shared-memory sender may, until it has confirmed
        that it stopped or `is_peer_connected` is false.
        """
        self._open_inbox().cancel(peer, reservation_id)

    def is_peer_connected(self, peer: Peer) -> bool:
        """Whether a channel of `peer` is open, so that it may still be writing into shared memory."""
        return self._connections[peer] > 0

    def _connected(self, peer: Peer) -> None:
        self._connections[peer] += 1

    def _gone(self, peer: Peer) -> None:
        self._connections[peer] -= 1
        if not self._connections[peer]:
            del self._connections[peer]
            if self.on_peer_gone is not None:
                self.on_peer_gone(peer)

    async def close(self) -> None:
        """Stop listening and drop every connection. `on_peer_gone` is called for each peer that was connected."""
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        if self._ucx is not None:
            self._ucx.close()


def _call_soon(loop: asyncio.AbstractEventLoop, on_complete: Callable[[], None]) -> None:
    loop.call_soon(on_complete)
