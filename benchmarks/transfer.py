"""KV transfer between two processes of this host, GB/s per transport and size, against a memcpy in the same run.

    python -m benchmarks.transfer [--sizes 1,16,64,256] [--transports shared_memory,ucx,tcp] [--rounds 11]

A push counts from its call until the receiver has verified every checksum in its own pool and said so. Both processes
have touched every page of both pools before the first round that counts; pushes and copies take turns and move other
blocks in each round, as in a pool that is larger than any cache; each figure is a median. The reference is one call of
memcpy inside one process.
"""

import argparse
import asyncio
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import uvloop

from benchmarks.machine import describe
from penstock.core.kv_layout import KvLayout, TransferEndpoint
from penstock.runtime import clock
from penstock.transfer.channel import KvChannel
from penstock.transfer.memory import KvMemory, allocate_kv_memory
from penstock.transfer.policy import TRANSPORTS, TransferPolicy
from penstock.transfer.receiver import KvReceiver
from penstock.transfer.sender import KvSender

MIB = 1 << 20
SIZES = (1, 16, 64, 256)  # MiB
NUM_BLOCKS = 256
LAYOUT = KvLayout(
    num_layers=32, num_kv_heads=8, head_dim=128, block_size=16, num_blocks=NUM_BLOCKS, element_bytes=2, dtype="bfloat16"
)
POOL_MIB = LAYOUT.num_bytes // MIB
RECEIVER, SENDER = ("decode-0", 11), ("prefill-0", 22)
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Rates are in GB/s; `memcpy` copies as many bytes in one call from pool to pool."""

    transport: str
    blocks: str  # "contiguous" or "scattered"
    size_mib: int
    seconds: float
    rate: float
    memcpy: float

    @property
    def ratio(self) -> float:
        return self.rate / self.memcpy


async def run(sizes: Sequence[int] = SIZES, transports: Sequence[str] = TRANSPORTS, rounds: int = 11) -> list[Row]:
    """Measure every combination; the receiver is a process of its own."""
    memory = allocate_kv_memory(LAYOUT)
    memory.pool[:] = np.random.default_rng(0).integers(0, 256, len(memory.pool), np.uint8)
    scratch = allocate_kv_memory(LAYOUT)
    scratch.pool[:] = 1
    rows = []
    for transport in transports:
        policy = TransferPolicy(allowed=(transport,))
        async with _Peer(policy) as peer:
            sender = KvSender(memory, policy, SENDER)
            channel = await sender.connect(*RECEIVER, [LAYOUT], peer.endpoints)
            await _measure(channel, peer, ("contiguous", POOL_MIB, 1), (memory, scratch))  # maps the peer's pages here
            for size, blocks in itertools.product(sizes, ("contiguous", "scattered")):
                row = await _measure(channel, peer, (blocks, size, rounds), (memory, scratch))
                rows.append(row)
            await sender.close()
    memory.close()
    scratch.close()
    return rows


async def _measure(
    channel: KvChannel, peer: "_Peer", case: tuple[str, int, int], pools: tuple[KvMemory, KvMemory]
) -> Row:
    blocks, size, rounds = case
    num_tokens = size * MIB // LAYOUT.token_bytes
    num_blocks = -(-num_tokens // LAYOUT.block_size)
    draw = np.random.default_rng(size)
    pushes, copies = [], []
    for turn in range(rounds + 1):
        first = turn * num_blocks % (NUM_BLOCKS - num_blocks + 1)
        source, destination = (
            list(range(first, first + num_blocks))
            if blocks == "contiguous"
            else draw.permutation(NUM_BLOCKS)[:num_blocks].tolist()
            for _ in range(2)
        )
        copied = _memcpy_s(pools, first * LAYOUT.block_size * LAYOUT.token_bytes, size * MIB)
        reservation_id = await peer.expect(destination, num_tokens)
        layers, tokens = range(LAYOUT.num_layers), range(num_tokens)
        deadline_s = clock.now_s() + DEADLINE_S
        stats = await channel.push(reservation_id, source, destination, 0, layers, tokens, deadline_s)
        if turn:
            pushes.append(stats.seconds)
            copies.append(copied)
    num_bytes = num_tokens * LAYOUT.token_bytes
    push_s, copy_s = median(pushes), median(copies)
    return Row(channel.transport, blocks, size, push_s, num_bytes / push_s / 1e9, size * MIB / copy_s / 1e9)


def _memcpy_s(pools: tuple[KvMemory, KvMemory], begin: int, num_bytes: int) -> float:
    source, destination = (memory.pool[begin : begin + num_bytes] for memory in pools)
    began_s = clock.now_s()
    np.copyto(destination, source)
    return clock.now_s() - began_s


class _Peer:
    """The receiving process; it is told what to expect, one JSON line at a time."""

    def __init__(self, policy: TransferPolicy) -> None:
        self._policy = policy
        self._reservation_id = 0
        self.endpoints: list[TransferEndpoint] = []

    async def __aenter__(self) -> "_Peer":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.transfer",
            "--receive",
            *self._policy.allowed,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for transport, address, host_id in (await self._line())["endpoints"]:
            self.endpoints.append(TransferEndpoint(transport, address.encode(), host_id))
        return self

    async def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())

    async def expect(self, block_ids: list[int], num_tokens: int) -> int:
        assert self._process.stdin is not None
        self._reservation_id += 1
        line = {"reservation_id": self._reservation_id, "block_ids": block_ids, "num_tokens": num_tokens}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        await self._line()
        return self._reservation_id

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def receive(transport: str) -> None:
    """The receiving process: serve until standard input ends."""
    memory = allocate_kv_memory(LAYOUT)
    memory.pool[:] = 0
    receiver = KvReceiver(RECEIVER)
    await receiver.start(memory, TransferPolicy(allowed=(transport,)))
    endpoints = [(e.transport, e.address.decode(), e.host_id) for e in receiver.endpoints]
    print(json.dumps({"endpoints": endpoints}), flush=True)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        told = json.loads(line)
        receiver.expect(
            SENDER, told["reservation_id"], told["block_ids"], 0, told["num_tokens"], on_complete=lambda: None
        )
        print("{}", flush=True)
    await receiver.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="MiB, comma-separated")
    parser.add_argument("--transports", default=",".join(TRANSPORTS))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--receive", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive:
        uvloop.run(receive(arguments.receive))
        return
    sizes = [int(size) for size in arguments.sizes.split(",")]
    rows = uvloop.run(run(sizes, arguments.transports.split(","), arguments.rounds))
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(describe())
    print(f"{'transport':14} {'blocks':11} {'MiB':>5} {'ms':>7} {'GB/s':>7} {'memcpy':>7} {'ratio':>6}")
    for row in rows:
        print(
            f"{row.transport:14} {row.blocks:11} {row.size_mib:5d} {row.seconds * 1e3:7.2f} "
            f"{row.rate:7.2f} {row.memcpy:7.2f} {row.ratio:6.2f}"
        )


if __name__ == "__main__":
    main()
