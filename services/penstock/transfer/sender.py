"""KV leaving a worker: one channel per decode worker, over the best transport both ends allow."""

import asyncio
from collections.abc import Sequence

from penstock.core.errors import TransferFailed
from penstock.core.kv_layout import KvLayout, TransferEndpoint
from penstock.transfer import shared_memory, tcp, ucx
from penstock.transfer.carrier import Carrier
from penstock.transfer.channel import Ends, KvChannel
from penstock.transfer.choose import RDMA_MARK, Choice, choose_transport
from penstock.transfer.copies import CopyLane
from penstock.transfer.counters import TransferCounters
from penstock.transfer.hosts import host_id, rdma_devices
from penstock.transfer.layout import check_layouts
from penstock.transfer.link import SenderLink
from penstock.transfer.memory import KvMemory
from penstock.transfer.policy import SHARED_MEMORY, UCX, Peer, TransferPolicy, check_policy
from penstock.transfer.ucx_adapter import UcxWorker


class KvSender:
    """One per worker process."""

    def __init__(self, memory: KvMemory | Sequence[KvMemory], policy: TransferPolicy, me: Peer) -> None:
        check_policy(policy)
        self.me = me
        self.counters = TransferCounters()
        self._memories = (memory,) if isinstance(memory, KvMemory) else tuple(memory)
        self._policy = policy
        self._lane = CopyLane()
        self._channels: list[KvChannel] = []
        self._ucx: UcxWorker | None = None
        self._staging: ucx.StagingBuffers | None = None

    async def connect(
        self,
        peer_worker_id: str,
        peer_incarnation: int,
        layouts: Sequence[KvLayout],
        endpoints: Sequence[TransferEndpoint],
    ) -> KvChannel:
        """Raises TransportUnavailable, TransferFailed (layouts that do not fit, no answer) or IncarnationMismatch."""
        check_layouts([memory.layout for memory in self._memories], layouts)
        choice = self._choose(endpoints)
        peer = (peer_worker_id, peer_incarnation)
        try:
            async with asyncio.timeout(self._policy.connect_timeout_s):
                carrier = await self._open(choice.endpoint, peer, layouts)
        except (TimeoutError, OSError) as error:
            raise TransferFailed(
                f"Worker {peer_worker_id} does not answer over {choice.endpoint.transport} ({error or 'timed out'})."
            ) from error
        ends = Ends(self.me, peer, self._memories, tuple(layouts))
        channel = KvChannel(carrier, ends, self._policy, self.counters.of(carrier.transport), choice.reason)
        self._channels = [channel, *(known for known in self._channels if known.is_open)]
        return channel

    def _choose(self, theirs: Sequence[TransferEndpoint]) -> Choice:
        host, mark = host_id(), RDMA_MARK if rdma_devices() else b""
        mine = [TransferEndpoint(name, mark, host) for name in self._policy.allowed]
        is_same_host = any(endpoint.host_id == host for endpoint in theirs)
        return choose_transport(mine, theirs, self._policy.allowed, is_same_host)

    async def _open(self, endpoint: TransferEndpoint, peer: Peer, layouts: Sequence[KvLayout]) -> Carrier:
        if endpoint.transport == SHARED_MEMORY:
            link = await SenderLink.open(await shared_memory.dial(endpoint.address), self.me, peer)
            return await shared_memory.SharedMemoryCarrier.open(link, layouts, self._lane)
        if endpoint.transport == UCX:
            link = await SenderLink.open(await tcp.dial(ucx.control_address(endpoint.address)), self.me, peer)
            worker, staging = self._ucx_worker()
            return ucx.UcxCarrier(link, worker, self._lane, staging)
        return tcp.TcpCarrier(await SenderLink.open(await tcp.dial(endpoint.address), self.me, peer), self._lane)

    def _ucx_worker(self) -> tuple[UcxWorker, ucx.StagingBuffers]:
        """Made for the first channel that needs it: a UCX context costs file descriptors and 30 ms."""
        if self._ucx is None or self._staging is None:
            self._ucx = UcxWorker()
            self._staging = ucx.StagingBuffers(self._ucx)
        return self._ucx, self._staging

    @property
    def channels(self) -> tuple[KvChannel, ...]:
        """Those that are open."""
        return tuple(channel for channel in self._channels if channel.is_open)

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels:
            await channel.close()
        self._channels.clear()
        if self._ucx is not None:
            self._ucx.close()
