"""Attention behind one small protocol: what a step looks like to it, and what a backend must do.

Every sequence of a step is a run of query tokens at the end of its context; all runs are flattened, decodes first:

    tokens      | d0 | d1 | d2 |  p0 p0 p0 p0  |  p1 p1 p1 p1 p1 p1  |        num_decodes = 3
    query_starts  0    1    2    3               7                     13
    context     everything of that sequence up to and including its last query token; KV of the tokens before the
                run is in the pool already (earlier steps, prefix cache, transfer), the run's own is written by the step

A backend is made once per runner with the geometry, the rope table and the KV pool, and is used by one thread.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

MAX_KEPT_TOKENS = 256  # of a step whose buffers may stay allocated until the next one


@dataclass(frozen=True, slots=True)
class AttentionGeometry:
    """The attention of one model. Query head h reads KV head h // (num_heads // num_kv_heads)."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float  # of the logits, usually head_dim ** -0.5
    windows: tuple[int, ...]  # per layer; 0: full context; w: a token sees itself and the w - 1 tokens before it

    @property
    def num_layers(self) -> int:
        return len(self.windows)


@dataclass(frozen=True, slots=True)
class AttentionStep:
    """One step. Tensors are on the model's device; the tuples hold the same lengths on the host, so nobody syncs."""

    num_decodes: int  # leading sequences with exactly one query token
    query_lengths: tuple[int, ...]  # per sequence, tokens to run
    context_lengths: tuple[int, ...]  # per sequence, tokens in the pool once the step's own are written
    query_starts: Tensor  # [num_sequences + 1] int32, where each run begins among the flattened tokens
    contexts: Tensor  # [num_sequences] int32, context_lengths on the device
    block_tables: Tensor  # [num_sequences, max_blocks] int32, padded with 0
    positions: Tensor  # [num_tokens] int64, each token's row of the rope table: its place in its sequence
    slots: Tensor  # [num_tokens] int64, block * block_size + offset: where the token's KV goes
    rope: Tensor | None = None  # as the backend's own, which it replaces in this step

    @property
    def num_sequences(self) -> int:
        return len(self.query_lengths)

    @property
    def num_tokens(self) -> int:
        return self.positions.shape[0]


class Attention(Protocol):
    """Constructed as Backend(geometry, rope, kv).

    rope: [max_positions, head_dim] float32, cosines in the first half of a row, sines in the second; pairs are
          (i, i + head_dim / 2), as in all models of the Llama family. Scalings (linear, llama3, yarn) are already in.
    kv:   [num_layers, 2, num_blocks, block_size, num_kv_heads, head_dim], K and V, in the model's dtype.
    """

    def begin(self, step: AttentionStep) -> None:
        """Prepare what all layers of this step share. The step stays current until the next call."""
        ...

    def rotate_and_write(self, layer: int, qkv: Tensor) -> Tensor:
        """Apply rope to the queries and keys, write K and V to the pool; return the rotated queries.

        qkv: [num_tokens, num_heads + 2 * num_kv_heads, head_dim], queries, keys, values; may be rotated in place.
        Returns [num_tokens, num_heads, head_dim], possibly a view of qkv (so not necessarily contiguous).
        """
        ...

    def attend(self, layer: int, query: Tensor) -> Tensor:
        """Causal attention of each query token to its sequence's context in the pool.

        query: as rotate_and_write returned it. Returns [num_tokens, num_heads * head_dim], contiguous.
        """
        ...
