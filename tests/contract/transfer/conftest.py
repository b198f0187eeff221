"""Two workers with KV pools of any layout, joined by the transport under test."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from penstock.core.kv_layout import KvLayout
from penstock.runtime import clock
from penstock.transfer.channel import KvChannel, PushStats
from penstock.transfer.layout import local_heads
from penstock.transfer.memory import KvMemory, allocate_kv_memory
from penstock.transfer.policy import TRANSPORTS, UCX, TransferPolicy
from penstock.transfer.receiver import KvReceiver
from penstock.transfer.sender import KvSender
from penstock.transfer.ucx_adapter import is_available

RECEIVER, SENDER = ("decode-0", 11), ("prefill-0", 22)
UNTOUCHED = 0xEE
TIMEOUT_S = 10.0

LAYOUT = KvLayout(
    num_layers=4, num_kv_heads=8, head_dim=16, block_size=16, num_blocks=40, element_bytes=2, dtype="bfloat16"
)
LARGE = replace(LAYOUT, head_dim=128, num_blocks=256)  # 16 KiB a token: 4096 tokens are 64 MiB


def over_ranks(layout: KvLayout, tp_size: int = 1, **changes: Any) -> list[KvLayout]:
    """The layouts of every tensor-parallel rank."""
    return [replace(layout, tp_rank=rank, tp_size=tp_size, **changes) for rank in range(tp_size)]


def read_sequence(memories: Sequence[KvMemory], blocks: Sequence[int], tokens: range) -> npt.NDArray[np.uint8]:
    """[num_layers, 2, num_tokens, num_kv_heads, head_bytes] over all ranks; token 0 of the range is in slot 0."""
    model = memories[0].layout
    head_bytes = model.head_dim * model.element_bytes
    sequence = np.zeros((model.num_layers, 2, len(tokens), model.num_kv_heads, head_bytes), np.uint8)
    for memory in memories:
        layout, heads = memory.layout, local_heads(memory.layout)
        pool = memory.pool.reshape(layout.num_layers, 2, layout.num_blocks, layout.block_size, len(heads), head_bytes)
        for token in tokens:
            slot = pool[:, :, blocks[token // layout.block_size], token % layout.block_size]
            sequence[:, :, token - tokens.start, heads.start : heads.stop] = slot
    return sequence


@dataclass
class Pair:
    """A prefill and a decode worker in this process, with one channel from the one to the other."""

    transport: str
    sources: list[KvLayout]
    destinations: list[KvLayout]
    options: dict[str, Any] = field(default_factory=dict)
    gone: list[tuple[str, int]] = field(default_factory=list)
    num_completions: int = 0

    async def open(self) -> "Pair":
        policy = TransferPolicy(allowed=(self.transport,), segment_bytes=1 << 20, **self.options)
        draw = np.random.default_rng(7)
        self.source_memories = [allocate_kv_memory(layout) for layout in self.sources]
        for memory in self.source_memories:
            memory.pool[:] = draw.integers(0, 256, len(memory.pool), np.uint8)
        self.destination_memories = [allocate_kv_memory(layout) for layout in self.destinations]
        for memory in self.destination_memories:
            memory.pool[:] = UNTOUCHED
        self.receiver = KvReceiver(RECEIVER)
        self.receiver.on_peer_gone = self.gone.append
        await self.receiver.start(self.destination_memories, policy)
        self.sender = KvSender(self.source_memories, policy, SENDER)
        self.channel: KvChannel = await self.connect()
        return self

    async def connect(self, incarnation: int = RECEIVER[1]) -> KvChannel:
        return await self.sender.connect(RECEIVER[0], incarnation, self.destinations, self.receiver.endpoints)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await asyncio.sleep(0)

    async def close(self) -> None:
        await self.sender.close()
        await self.receiver.close()
        for memory in (*self.source_memories, *self.destination_memories):
            memory.close()

    def expect(self, blocks: Sequence[int], first: int, num_tokens: int, reservation_id: int = 1) -> asyncio.Event:
        is_complete = asyncio.Event()

        def complete() -> None:
            self.num_completions += 1
            is_complete.set()

        self.receiver.expect(SENDER, reservation_id, blocks, first, num_tokens, complete)
        return is_complete

    async def push(  # noqa: PLR0917
        self,
        source: Sequence[int],
        destination: Sequence[int],
        tokens: range,
        first: int = 0,
        layers: range | None = None,
        reservation_id: int = 1,
        timeout_s: float = TIMEOUT_S,
    ) -> PushStats:
        layers = range(self.sources[0].num_layers) if layers is None else layers
        deadline_s = clock.now_s() + timeout_s
        return await self.channel.push(reservation_id, source, destination, first, layers, tokens, deadline_s)

    def assert_arrived(self, source: Sequence[int], destination: Sequence[int], tokens: range, first: int = 0) -> None:
        """The tokens are bit-exact at the destination, and nothing else there was written."""
        sent = read_sequence(self.source_memories, source, tokens)
        shifted = range(tokens.start - first, tokens.stop - first)
        assert (read_sequence(self.destination_memories, destination, shifted) == sent).all()
        untouched = sum(int(np.count_nonzero(memory.pool == UNTOUCHED)) for memory in self.destination_memories)
        size = sum(memory.layout.num_bytes for memory in self.destination_memories)
        assert untouched == size - sent.size + int(np.count_nonzero(sent == UNTOUCHED))

    def assert_untouched(self) -> None:
        assert all((memory.pool == UNTOUCHED).all() for memory in self.destination_memories)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == UCX and not is_available():
        pytest.skip("ucxx is not installed")
    return name


@pytest.fixture
async def make_pair(transport: str) -> AsyncIterator[Callable[..., Awaitable[Pair]]]:
    """`await make_pair({"block_size": 8}, {"tp_size": 2}, is_large=False, num_credits=4)`: changes to the layout of the
    prefill worker, of the decode worker, and policy. Afterwards nothing may be left open."""
    pairs: list[Pair] = []
    gc.collect()
    num_files = len(os.listdir("/proc/self/fd"))
    tasks = asyncio.all_tasks()

    async def make(
        source: dict[str, int] | None = None,
        destination: dict[str, int] | None = None,
        is_large: bool = False,
        **options: Any,
    ) -> Pair:
        layout = LARGE if is_large else LAYOUT
        pair = Pair(transport, over_ranks(layout, **(source or {})), over_ranks(layout, **(destination or {})), options)
        pairs.append(pair)
        return await pair.open()

    yield make
    while pairs:
        await pairs.pop().close()
    gc.collect()  # a UCX context closes its descriptors when it is collected
    assert asyncio.all_tasks() - {asyncio.current_task()} <= tasks, "a task outlived its owner"
    assert len(os.listdir("/proc/self/fd")) <= num_files, "a descriptor outlived its owner"
