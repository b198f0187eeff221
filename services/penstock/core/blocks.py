"""Paged KV book-keeping: which blocks are free, which are shared, which hold a known prefix.

A block is in exactly one of three states:

    free       nobody needs it and it holds nothing known        -> in `_free`
    cached     nobody needs it, it holds a known prefix          -> in `_cached`, evicted oldest first
    referenced num_references > 0, perhaps with a known prefix   -> in neither

Prefixes are named by chained hashes: the hash of a block stands for every token from the start of the sequence to the
end of that block, so equal hashes mean equal KV. Hashes are made for every HASH_BLOCK_TOKENS tokens; a pool whose
blocks are a multiple of that size uses every n-th.
"""

import hashlib
from array import array
from bisect import insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence

HASH_BLOCK_TOKENS = 16
HASH_BYTES = 16


def hash_blocks(token_ids: Sequence[int], salt: bytes = b"", parent: bytes = b"") -> list[bytes]:
    """Chained hashes of every full HASH_BLOCK_TOKENS tokens.

    `salt` begins the chain and so keeps tenants apart. `parent` is the hash before the first token, to continue one.
    """
    parent = parent or hashlib.blake2b(salt, digest_size=HASH_BYTES).digest()
    data = memoryview(array("I", token_ids)).cast("B")
    width = HASH_BLOCK_TOKENS * 4
    hashes: list[bytes] = []
    for at in range(0, len(data) - width + 1, width):
        parent = hashlib.blake2b(data[at : at + width], digest_size=HASH_BYTES, salt=parent).digest()
        hashes.append(parent)
    return hashes


class BlockPool:
    """Hands out blocks of one worker's KV pool; keeps freed ones as a prefix cache until their space is needed."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        if block_size % HASH_BLOCK_TOKENS:
            raise ValueError(f"block size {block_size} is not a multiple of {HASH_BLOCK_TOKENS} tokens")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._free = list(range(num_blocks - 1, -1, -1))  # descending: pop() takes the lowest, so runs are contiguous
        self._cached: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._references = [0] * num_blocks
        self._hash_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._stored: set[bytes] = set()
        self._evicted: set[bytes] = set()

    @property
    def num_free(self) -> int:
        """Blocks that can be allocated now, by evicting cached prefixes if need be."""
        return len(self._free) + len(self._cached)

    @property
    def num_referenced(self) -> int:
        return self.num_blocks - self.num_free

    @property
    def num_evictable(self) -> int:
        """Blocks nobody needs that hold a known prefix."""
        return len(self._cached)

    @property
    def num_cached(self) -> int:
        """Blocks that hold a known prefix, referenced or not."""
        return len(self._hash_of)

    def num_blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def allocate(self, num_blocks: int) -> list[int] | None:
        """Take `num_blocks` blocks with one reference each, or None (and nothing) when there are not enough."""
        if num_blocks > self.num_free:
            return None
        while len(self._free) < num_blocks:
            self._evict_oldest()
        block_ids = [self._free.pop() for _ in range(num_blocks)]
        for block_id in block_ids:
            self._references[block_id] = 1
        return block_ids

    def take_prefix(self, block_hashes: Sequence[bytes], max_tokens: int) -> list[int]:
        """Reference the blocks of the longest known prefix of at most `max_tokens` tokens."""
        per_block = self.block_size // HASH_BLOCK_TOKENS
        block_ids: list[int] = []
        for index in range(min(len(block_hashes) // per_block, max_tokens // self.block_size)):
            block_id = self._block_of.get(block_hashes[(index + 1) * per_block - 1])
            if block_id is None:
                break
            block_ids.append(block_id)
        for block_id in block_ids:
            if self._references[block_id] == 0:
                del self._cached[block_id]
            self._references[block_id] += 1
        return block_ids

    def enter(self, block_id: int, block_hash: bytes) -> None:
        """Make a full, computed, referenced block known as `block_hash`; the first holder of a hash stays it."""
        if block_hash in self._block_of or block_id in self._hash_of:
            return
        self._block_of[block_hash] = block_id
        self._hash_of[block_id] = block_hash
        self._evicted.discard(block_hash)
        self._stored.add(block_hash)

    def release(self, block_ids: Iterable[int]) -> None:
        """Give up one reference to each block. Later blocks of a sequence are evicted before earlier ones."""
        for block_id in reversed(list(block_ids)):
            self._references[block_id] -= 1
            assert self._references[block_id] >= 0, f"block {block_id} released more often than taken"
            if self._references[block_id]:
                continue
            if block_id in self._hash_of:
                self._cached[block_id] = None
            else:
                self._return(block_id)

    def take_changes(self) -> tuple[list[bytes], list[bytes]]:
        """Hashes that entered and left the prefix cache since the last call."""
        changes = list(self._stored), list(self._evicted)
        self._stored, self._evicted = set(), set()
        return changes

    def known_hashes(self) -> list[bytes]:
        return list(self._block_of)

    def _evict_oldest(self) -> None:
        block_id, _ = self._cached.popitem(last=False)
        block_hash = self._hash_of.pop(block_id)
        del self._block_of[block_hash]
        self._stored.discard(block_hash)
        self._evicted.add(block_hash)
        self._return(block_id)

    def _return(self, block_id: int) -> None:
        insort(self._free, block_id, key=lambda free: -free)
