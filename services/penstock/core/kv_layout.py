"""How KV memory is laid out on one tensor-parallel rank, and where it can be reached."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class KvLayout:
    """One rank's KV pool: a contiguous [num_layers, 2, num_blocks, block_size, num_kv_heads / tp_size, head_dim].

    The second axis is K, V. A rank holds the heads [tp_rank * n, (tp_rank + 1) * n) with n = num_kv_heads / tp_size.
    """

    num_layers: int
    num_kv_heads: int  # of the whole model
    head_dim: int
    block_size: int  # tokens
    num_blocks: int
    element_bytes: int
    dtype: str
    tp_rank: int = 0
    tp_size: int = 1

    @cached_property
    def num_local_heads(self) -> int:
        return self.num_kv_heads // self.tp_size

    @cached_property
    def slot_bytes(self) -> int:
        """K (or V) of one token in one layer."""
        return self.num_local_heads * self.head_dim * self.element_bytes

    @cached_property
    def block_bytes(self) -> int:
        """K (or V) of one block in one layer."""
        return self.block_size * self.slot_bytes

    @cached_property
    def num_bytes(self) -> int:
        return self.num_layers * 2 * self.num_blocks * self.block_bytes

    @cached_property
    def token_bytes(self) -> int:
        """K and V of one token over all layers."""
        return self.num_layers * 2 * self.slot_bytes


def embedding_layout(hidden_size: int, block_size: int, num_blocks: int, element_bytes: int, dtype: str) -> KvLayout:
    """A pool of embeddings, laid out as KV so that it is moved as KV: of each token, K and V are the two halves.

    `hidden_size` is even, as every model's is.
    """
    return KvLayout(1, 1, hidden_size // 2, block_size, num_blocks, element_bytes, dtype)


@dataclass(frozen=True, slots=True)
class TransferEndpoint:
    """Where a worker listens with one transport; `address` is in the transport's own form."""

    transport: str
    address: bytes
    host_id: str  # equal host_ids may share memory
