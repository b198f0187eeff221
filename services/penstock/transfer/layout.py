"""Which bytes of a KV pool hold which part of a sequence, and how two pools of different shape correspond.

A pool is a stack of planes, one for the K and one for the V of each layer (`core.kv_layout`), and a plan is one vector:

    part (layers x tokens x heads)  --block table-->  Rows: equal pieces of the pool, in canonical order

The canonical order of a payload is [layer][K, V][token][head][dim]. It does not depend on the block size or on the
tensor-parallel degree of either end, which is why one checksum can be computed at both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, gcd, lcm

import numpy as np
import numpy.typing as npt

from penstock.core.errors import TransferFailed
from penstock.core.kv_layout import KvLayout

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KvPart:
    """A box of a sequence's KV; heads are numbered over the whole model."""

    layers: range
    tokens: range
    heads: range

    def num_bytes(self, layout: KvLayout) -> int:
        num_vectors = len(self.layers) * 2 * len(self.tokens) * len(self.heads)
        return num_vectors * layout.head_dim * layout.element_bytes


@dataclass(frozen=True, slots=True)
class BlockTable:
    """`blocks[i]` holds the tokens [first_token + i * block_size, first_token + (i + 1) * block_size)."""

    blocks: Indices
    first_token: int = 0

    @classmethod
    def of(cls, block_ids: Sequence[int], first_token: int = 0) -> "BlockTable":
        return cls(np.asarray(block_ids, np.int64), first_token)

    def holds(self, layout: KvLayout, tokens: range) -> bool:
        """Whether all of `tokens` have a place here and every block named exists in the pool."""
        if not self.first_token <= tokens.start <= tokens.stop:
            return False
        first = (tokens.start - self.first_token) // layout.block_size
        end = ceil((tokens.stop - self.first_token) / layout.block_size)
        used = self.blocks[first:end]
        return end <= len(self.blocks) and bool(((used >= 0) & (used < layout.num_blocks)).all())


@dataclass(frozen=True, slots=True)
class Grain:
    """The piece both ends can address: `num_tokens` whole slots, or `num_heads` heads of one slot."""

    num_tokens: int
    num_heads: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Piece i of the part is bytes [index[i] * row_bytes, (index[i] + 1) * row_bytes) of the pool."""

    row_bytes: int
    index: Indices

    def runs(self) -> tuple[Indices, Indices]:
        """(offsets, lengths) in bytes of the longest stretches that are contiguous in the pool, in order."""
        first, count = _stretches(np.diff(self.index) == 1)
        return self.index[first] * self.row_bytes, count * self.row_bytes


def paired_runs(source: Rows, destination: Rows) -> tuple[Indices, Indices, Indices]:
    """(source offsets, destination offsets, lengths) in bytes of the stretches contiguous at both ends."""
    first, count = _stretches((np.diff(source.index) == 1) & (np.diff(destination.index) == 1))
    row_bytes = source.row_bytes
    return source.index[first] * row_bytes, destination.index[first] * row_bytes, count * row_bytes


def _stretches(is_joined: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """First index and length of each run, given whether each element continues the one before it."""
    first = np.concatenate(([0], np.flatnonzero(~is_joined) + 1))
    return first, np.diff(np.append(first, len(is_joined) + 1))


def local_heads(layout: KvLayout) -> range:
    """The heads this rank holds."""
    return range(layout.tp_rank * layout.num_local_heads, (layout.tp_rank + 1) * layout.num_local_heads)


def shared_heads(one: KvLayout, other: KvLayout) -> range:
    """The heads both ranks hold; empty when none."""
    mine, theirs = local_heads(one), local_heads(other)
    start = max(mine.start, theirs.start)
    return range(start, max(start, min(mine.stop, theirs.stop)))


def grain_of(layout: KvLayout, table: BlockTable, part: KvPart) -> Grain:
    """The largest equal piece of `part` that never crosses a block of this pool."""
    heads = local_heads(layout)
    if part.heads == heads:
        num_tokens = gcd(layout.block_size, part.tokens.start - table.first_token, len(part.tokens))
        return Grain(num_tokens, len(heads))
    return Grain(1, gcd(len(heads), part.heads.start - heads.start, len(part.heads)))


def common_grain(one: Grain, other: Grain) -> Grain:
    """The largest piece that both ends can address. Pieces of several tokens exist only where both hold whole slots."""
    if one.num_heads == other.num_heads:
        return Grain(gcd(one.num_tokens, other.num_tokens), one.num_heads)
    return Grain(1, gcd(one.num_heads, other.num_heads))


def rows_of(layout: KvLayout, table: BlockTable, part: KvPart, grain: Grain | None = None) -> Rows:
    """Where this pool keeps `part`, cut into pieces of `grain` (by default the largest)."""
    grain = grain or grain_of(layout, table, part)
    head_bytes = layout.head_dim * layout.element_bytes
    heads = local_heads(layout)
    pieces_per_slot = len(heads) // grain.num_heads
    positions = np.arange(part.tokens.start, part.tokens.stop, grain.num_tokens, dtype=np.int64) - table.first_token
    slots = table.blocks[positions // layout.block_size] * layout.block_size + positions % layout.block_size
    index = slots // grain.num_tokens * pieces_per_slot
    if grain.num_tokens == 1:
        first = (part.heads.start - heads.start) // grain.num_heads
        index = (index[:, None] + np.arange(first, first + len(part.heads) // grain.num_heads)).reshape(-1)
    row_bytes = grain.num_tokens * grain.num_heads * head_bytes
    rows_per_plane = layout.num_blocks * layout.block_bytes // row_bytes
    planes = np.arange(2 * part.layers.start, 2 * part.layers.stop, dtype=np.int64)
    return Rows(row_bytes, (planes[:, None] * rows_per_plane + index).reshape(-1))


@dataclass(frozen=True, slots=True)
class Place:
    """A block table in a pool."""

    layout: KvLayout
    table: BlockTable

    def rows(self, part: KvPart) -> Rows:
        return rows_of(self.layout, self.table, part)


def plan_copy(source: Place, destination: Place, part: KvPart) -> tuple[Rows, Rows]:
    """Equal pieces of `part` in both pools, in the same order."""
    grain = common_grain(
        grain_of(source.layout, source.table, part), grain_of(destination.layout, destination.table, part)
    )
    return (
        rows_of(source.layout, source.table, part, grain),
        rows_of(destination.layout, destination.table, part, grain),
    )


def split_part(part: KvPart, source: KvLayout, destination: KvLayout, segment_bytes: int) -> Iterator[KvPart]:
    """Cut `part` into segments of at most `segment_bytes`, along layers first: that keeps runs of tokens long.

    A single layer that is too large is cut along tokens, where a block ends at both ends if possible.
    """
    layer_bytes = part.num_bytes(source) // len(part.layers)
    if layer_bytes <= segment_bytes:
        step = segment_bytes // layer_bytes
        for start in range(part.layers.start, part.layers.stop, step):
            yield KvPart(range(start, min(start + step, part.layers.stop)), part.tokens, part.heads)
        return
    num_tokens = _token_step(segment_bytes * len(part.tokens) // layer_bytes, source, destination)
    for layer in part.layers:
        begin = part.tokens.start
        while begin < part.tokens.stop:
            end = min((begin // num_tokens + 1) * num_tokens, part.tokens.stop)
            yield KvPart(range(layer, layer + 1), range(begin, end), part.heads)
            begin = end


def _token_step(max_tokens: int, source: KvLayout, destination: KvLayout) -> int:
    """The most tokens up to `max_tokens` (at least one) that end where blocks do."""
    for unit in (lcm(source.block_size, destination.block_size), source.block_size):
        if max_tokens >= unit:
            return max_tokens // unit * unit
    return max(max_tokens, 1)


def check_layouts(mine: Sequence[KvLayout], theirs: Sequence[KvLayout]) -> None:
    """Refuse two ends between which KV cannot be moved, or of which one does not hold together."""
    if not mine or not theirs:
        raise TransferFailed("A worker announced no KV layout, so nothing can be transferred to or from it.")
    for layout in (*mine, *theirs):
        _check_layout(layout)
    for name in ("num_layers", "num_kv_heads", "head_dim", "dtype", "element_bytes"):
        values = {getattr(layout, name) for layout in (*mine, *theirs)}
        if len(values) > 1:
            raise TransferFailed(
                f"The KV caches differ in {name} ({getattr(mine[0], name)} here, {getattr(theirs[0], name)} there): "
                "prefill and decode workers of one group must serve the same model with the same KV dtype."
            )
    ranks = sorted((layout.tp_rank, layout.tp_size) for layout in theirs)
    if ranks != [(rank, theirs[0].tp_size) for rank in range(theirs[0].tp_size)]:
        raise TransferFailed(f"The destination must list each tensor-parallel rank once, but announced {ranks}.")


def _check_layout(layout: KvLayout) -> None:
    if not 0 <= layout.tp_rank < layout.tp_size:
        raise TransferFailed(f"Tensor-parallel rank {layout.tp_rank} does not exist in a group of {layout.tp_size}.")
    if layout.num_kv_heads % layout.tp_size:
        raise TransferFailed(
            f"{layout.num_kv_heads} KV heads cannot be divided over {layout.tp_size} tensor-parallel ranks; "
            "choose a degree that divides the number of KV heads."
        )
