"""Where the context of a step's sequences lies: the nouns that the attention kernels share."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class PagedContext:
    """Contexts of several sequences in one layer's pool; everything on one device."""

    kv: Tensor  # [2, num_blocks, block_size, num_kv_heads, head_dim], contiguous
    block_tables: Tensor  # [num_sequences, max_blocks] int32, rows contiguous
    contexts: Tensor  # [num_sequences] int32, at least 1; tokens up to and including the last query token
    query_starts: Tensor  # [num_sequences + 1] int32, where each run of query tokens begins

    @property
    def block_size(self) -> int:
        return self.kv.shape[2]

    @property
    def num_kv_heads(self) -> int:
        return self.kv.shape[3]

    @property
    def head_dim(self) -> int:
        return self.kv.shape[4]


@dataclass(frozen=True, slots=True)
class Visibility:
    """What a query token may look at, and how sharply."""

    scale: float  # of the logits
    window: int = 0  # 0: its whole context; w: itself and the w - 1 tokens before it
