"""The same promises with the receiver in another process, which may stall or die."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from penstock.core.errors import TransferFailed
from penstock.core.kv_layout import KvLayout, TransferEndpoint
from penstock.runtime import clock
from penstock.transfer.channel import KvChannel, PushStats
from penstock.transfer.memory import KvMemory, allocate_kv_memory
from penstock.transfer.policy import TransferPolicy
from penstock.transfer.sender import KvSender

SCRIPT = Path(__file__).with_name("receiving_process.py")
LAYOUT = KvLayout(8, 8, 128, 16, 256, 2, "bfloat16")  # 32 KiB a token: 4096 tokens are 128 MiB
NUM_TOKENS = 4096


@dataclass
class Remote:
    """A sender here, a receiver there."""

    process: asyncio.subprocess.Process
    endpoints: list[TransferEndpoint]
    memory: KvMemory
    sender: KvSender
    channel: KvChannel

    async def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), 10))

    async def tell(self, **message: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        return await self.hear()

    async def push(self, source: list[int], destination: list[int], timeout_s: float = 20.0) -> PushStats:
        deadline_s = clock.now_s() + timeout_s
        tokens = range(len(source) * LAYOUT.block_size)
        return await self.channel.push(1, source, destination, 0, range(LAYOUT.num_layers), tokens, deadline_s)


@pytest.fixture
async def make_remote(transport: str) -> AsyncIterator[Callable[..., Awaitable[Remote]]]:
    remotes: list[Remote] = []

    async def make(layout: KvLayout = LAYOUT) -> Remote:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), transport, json.dumps(asdict(layout)), stdin=pipe, stdout=pipe
        )
        memory = allocate_kv_memory(LAYOUT)
        memory.pool[:] = np.random.default_rng(3).integers(0, 256, len(memory.pool), np.uint8)
        sender = KvSender(memory, TransferPolicy(allowed=(transport,)), ("prefill-0", 22))
        remote = Remote(process, [], memory, sender, None)  # type: ignore[arg-type]
        remotes.append(remote)
        told = (await remote.hear())["endpoints"]
        remote.endpoints = [TransferEndpoint(name, address.encode(), host) for name, address, host in told]
        remote.channel = await sender.connect("decode-0", 11, [layout], remote.endpoints)
        return remote

    yield make
    for remote in remotes:
        await remote.sender.close()
        remote.memory.close()
        if remote.process.returncode is None:
            remote.process.kill()
        await remote.process.communicate()


async def test_kv_arrives_bit_exact_in_another_process(make_remote: Any) -> None:
    remote = await make_remote()
    order = np.random.default_rng(4)
    source, destination = (order.permutation(256)[:128].tolist() for _ in range(2))
    await remote.tell(expect=[1, destination, 0, 2048])
    stats = await remote.push(source, destination)
    assert await remote.hear() == {"complete": 1}
    expected = np.zeros((LAYOUT.num_layers * 2, LAYOUT.num_blocks, LAYOUT.block_bytes), np.uint8)
    expected[:, destination] = remote.memory.pool.reshape(expected.shape)[:, source]
    assert await remote.tell(digest=True) == {"digest": xxhash.xxh3_64_intdigest(expected.data)}
    assert stats.num_bytes == 64 << 20
    assert stats.num_retries == 0


async def test_a_receiver_with_other_blocks_gets_the_same_tokens(make_remote: Any) -> None:
    remote = await make_remote(replace(LAYOUT, block_size=64, num_blocks=8))
    await remote.tell(expect=[1, [6, 1], 0, 128])
    await remote.push([9, 3, 200, 4, 17, 90, 91, 2], [6, 1])
    assert await remote.hear() == {"complete": 1}
    expected = np.zeros((LAYOUT.num_layers * 2, 8, 4, LAYOUT.block_bytes), np.uint8)
    blocks = remote.memory.pool.reshape(LAYOUT.num_layers * 2, LAYOUT.num_blocks, -1)
    expected[:, 6], expected[:, 1] = blocks[:, [9, 3, 200, 4]], blocks[:, [17, 90, 91, 2]]
    assert await remote.tell(digest=True) == {"digest": xxhash.xxh3_64_intdigest(expected.data)}


async def test_a_receiver_killed_mid_push_fails_it_long_before_its_deadline(make_remote: Any) -> None:
    remote = await make_remote()
    blocks = list(range(256))
    await remote.tell(expect=[1, blocks, 0, NUM_TOKENS])
    push = asyncio.create_task(remote.push(blocks, blocks))
    counters = remote.sender.counters.of(remote.channel.transport)
    async with asyncio.timeout(10):
        while not counters.num_segments:
            await asyncio.sleep(0)
    began_s = clock.now_s()
    remote.process.kill()
    with pytest.raises(TransferFailed):
        await push
    assert clock.now_s() - began_s < 5
    assert not remote.channel.is_open
    with pytest.raises(TransferFailed):
        await remote.push(blocks, blocks)


async def test_a_stalled_receiver_fails_the_push_at_its_deadline(make_remote: Any) -> None:
    remote = await make_remote()
    blocks = list(range(256))
    await remote.tell(expect=[1, blocks, 0, NUM_TOKENS])
    os.kill(remote.process.pid, signal.SIGSTOP)
    began_s = clock.now_s()
    with pytest.raises(TransferFailed, match="by its deadline"):
        await remote.push(blocks, blocks, timeout_s=0.5)
    assert 0.4 < clock.now_s() - began_s < 3
    await asyncio.wait_for(remote.channel.stop(1), 3)
    os.kill(remote.process.pid, signal.SIGCONT)


async def test_nothing_is_left_in_shared_memory_after_kills(make_remote: Any) -> None:
    before = set(os.listdir("/dev/shm"))
    remote = await make_remote()
    await remote.tell(expect=[1, [5], 0, 16])
    await remote.push([5], [5])
    remote.process.kill()
    await remote.process.wait()
    assert set(os.listdir("/dev/shm")) <= before
