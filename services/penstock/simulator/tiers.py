"""The prefix cache of a simulated worker below device memory: what was computed stays in host memory for longer.

xLLM's rule: whatever is on the device is in host memory too, so that dropping it on the device costs nothing. A hash is
reported as evicted when it is in neither. The host's least recently used blocks go first; leaving the device is a use.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from penstock.core.blocks import HASH_BLOCK_TOKENS
from penstock.core.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class HostCache:
    """Host memory for prefixes of one worker; `num_tokens` 0: there is none."""

    num_tokens: int = 0
    bandwidth_bytes_per_s: float = 50e9  # PCIe 5.0 x16 to one device at 80 %
    latency_s: float = 1e-4

    def __post_init__(self) -> None:
        if not self.bandwidth_bytes_per_s > 0:
            raise InvalidSettings(
                "pools.host_cache.bandwidth_bytes_per_s", self.bandwidth_bytes_per_s, "must be above 0"
            )


class TieredHashes:
    """Which block hashes one worker holds, on the device or in host memory."""

    def __init__(self, spec: HostCache, block_size: int) -> None:
        self._max_blocks = spec.num_tokens // block_size
        self._stride = block_size // HASH_BLOCK_TOKENS
        self._device: set[bytes] = set()
        self._host: OrderedDict[bytes, None] = OrderedDict()  # least recently used first

    def update(self, stored: Collection[bytes], evicted: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Take in what changed on the device since the last call; returns what the worker as a whole holds anew, and no
        longer. Both sorted, so that every run is the same."""
        touched = set(evicted)
        before = {block_hash for block_hash in stored if self._holds(block_hash)}
        self._device |= set(stored)
        self._device -= touched
        for block_hash in sorted({*stored, *(touched & self._host.keys())}, reverse=True):
            self.touch(block_hash)
        gone = {self._host.popitem(last=False)[0] for _ in range(max(0, len(self._host) - self._max_blocks))}
        lost = {block_hash for block_hash in gone | touched if not self._holds(block_hash)}
        return sorted(set(stored) - before), sorted(lost)

    def touch(self, block_hash: bytes) -> None:
        """Put it into host memory, or to the end of the line there."""
        if self._max_blocks:
            self._host[block_hash] = None
            self._host.move_to_end(block_hash)

    def num_prefix_blocks(self, block_hashes: Sequence[bytes], first: int, most: int) -> int:
        """How many leading blocks are held in either tier, the first `first` being known to be, at most `most`."""
        count = first
        while count < most and self._holds(self.hash_of(block_hashes, count)):
            count += 1
        return count

    def hash_of(self, block_hashes: Sequence[bytes], index: int) -> bytes:
        """The hash that stands for the block at `index`."""
        return block_hashes[(index + 1) * self._stride - 1]

    def _holds(self, block_hash: bytes) -> bool:
        return block_hash in self._host or block_hash in self._device
