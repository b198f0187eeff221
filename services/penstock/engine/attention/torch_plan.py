"""How TorchAttention runs one step: which queries meet which keys in one call, and which keys are gathered first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from penstock.engine.attention.protocol import AttentionStep

MAX_ROWS = 256  # queries per call where a mask is needed: bounds the mask, and skips keys after the last of these rows
SHORT_CONTEXT_TOKENS = 128  # contexts up to here are cheaper gathered into one call than in a call each (measured)
MIN_SHORT_DECODES = 4  # ... if there are at least so many
MAX_PADDING = 1.5  # scattered decodes run as one padded call while padded / real tokens stays below (measured)

KeysAndValues = tuple[Tensor, Tensor]  # each [num_sequences, num_kv_heads, num_tokens, head_dim]
Ints = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Segment:
    """One call: these query rows on these keys."""

    rows: slice
    kv: Sequence[KeysAndValues]  # per layer
    num_decodes: int = 0  # > 0: one row for each of so many sequences
    mask: Tensor | None = None  # added to the logits
    is_causal: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A step, for all layers with the same window."""

    segments: Sequence[Segment]
    gathered: Tensor | None = None  # rows of PoolViews.blocks to copy to `scratch` in each layer
    scratch: Tensor | None = None


class PoolViews:
    """The KV pool by slot and by block, and the scratch that scattered sequences are gathered into."""

    def __init__(self, kv: Tensor) -> None:
        self.num_layers, _, self.num_blocks, self.block_size, self.num_kv_heads, self.head_dim = kv.shape
        self.slots = kv.view(self.num_layers, 2, -1, self.num_kv_heads, self.head_dim)
        self.blocks = kv.view(self.num_layers, 2 * self.num_blocks, -1)  # K of every block, then V of every block
        self._scratch = self.blocks.new_empty(0, self.blocks.shape[-1])

    def in_place(self, first_slot: int, num_tokens: int) -> list[KeysAndValues]:
        """Per layer, a consecutive range of slots."""
        region = self.slots[:, :, first_slot : first_slot + num_tokens].transpose(2, 3).unsqueeze(2)
        planes = region.flatten(0, 1).unbind(0)
        return list(zip(planes[::2], planes[1::2], strict=True))

    def scratch(self, num_blocks: int) -> Tensor:
        """[2 * num_blocks, block_size * num_kv_heads * head_dim], uninitialised."""
        if self._scratch.shape[0] < 2 * num_blocks:
            self._scratch = self.blocks.new_empty(3 * num_blocks, self.blocks.shape[-1])
        return self._scratch[: 2 * num_blocks]


class Planner:
    """Plans one step, once for each distinct window."""

    def __init__(self, pool: PoolViews, step: AttentionStep) -> None:
        self._pool = pool
        self._step = step
        self._tables: Ints = step.block_tables.cpu().numpy()
        self._queries = np.array(step.query_lengths)
        self._contexts = np.array(step.context_lengths)
        self._num_blocks = -(-self._contexts // pool.block_size)
        is_joined = np.diff(self._tables, axis=1) == 1
        is_joined |= np.arange(is_joined.shape[1]) >= self._num_blocks[:, None] - 1
        self._is_consecutive: npt.NDArray[np.bool_] = is_joined.all(axis=1)

    def slots(self) -> slice | Tensor:
        """Where the step's KV is written, as one range if it is one."""
        if self._step.num_sequences != 1 or not self._is_consecutive[0]:
            return self._step.slots
        first = int(self._tables[0, 0]) * self._pool.block_size
        context = self._step.context_lengths[0]
        return slice(first + context - self._step.query_lengths[0], first + context)

    def plan(self, window: int) -> Plan:
        """window: as in AttentionGeometry."""
        firsts = np.maximum(0, self._contexts - self._queries - window + 1) if window else np.zeros_like(self._contexts)
        is_padded = self._is_padded(firsts)
        layout = _ScratchLayout(self._pool, self._is_consecutive, firsts // self._pool.block_size, self._num_blocks)
        if is_padded:
            layout.pad(self._step.num_decodes)
        scratch, gathered = layout.gather(self._tables)
        keys = _Keys(self._pool, self._tables[:, 0], layout, scratch)
        decodes = [self._padded_decodes(firsts, layout, keys)] if is_padded else self._decodes(firsts, keys)
        segments = [*decodes, *self._prefills(window, keys)]
        if gathered is None:
            return Plan(segments)
        return Plan(segments, torch.from_numpy(gathered).to(self._pool.slots.device), scratch)

    def _is_padded(self, firsts: Ints) -> bool:
        """Whether the decodes run as one call on gathered, padded keys."""
        num_decodes = self._step.num_decodes
        visible = (self._contexts - firsts)[:num_decodes]
        if num_decodes < 2:
            return False
        longest = int(visible.max())
        if self._is_consecutive[:num_decodes].all():
            return num_decodes >= MIN_SHORT_DECODES and longest <= SHORT_CONTEXT_TOKENS
        return longest * num_decodes <= MAX_PADDING * int(visible.sum())

    def _padded_decodes(self, firsts: Ints, layout: "_ScratchLayout", keys: "_Keys") -> Segment:
        num_decodes = self._step.num_decodes
        width = int(layout.counts[0]) * self._pool.block_size
        positions = (layout.first_blocks[:num_decodes] * self._pool.block_size)[:, None] + np.arange(width)
        is_visible = (positions >= firsts[:num_decodes, None]) & (positions < self._contexts[:num_decodes, None])
        mask = self._mask(torch.from_numpy(~is_visible)).view(num_decodes, 1, 1, width)
        return Segment(slice(0, num_decodes), keys.padded(num_decodes, width), num_decodes, mask)

    def _decodes(self, firsts: Ints, keys: "_Keys") -> Iterator[Segment]:
        for i in range(self._step.num_decodes):
            yield Segment(slice(i, i + 1), keys.of(i, int(firsts[i]), self._step.context_lengths[i]), num_decodes=1)

    def _prefills(self, window: int, keys: "_Keys") -> Iterator[Segment]:
        row = self._step.num_decodes
        for i in range(self._step.num_decodes, self._step.num_sequences):
            num_queries, context = self._step.query_lengths[i], self._step.context_lengths[i]
            if num_queries == context and not 0 < window < context:
                yield Segment(slice(row, row + num_queries), keys.of(i, 0, context), is_causal=True)
            else:
                yield from self._masked_prefill(i, row, window, keys)
            row += num_queries

    def _masked_prefill(self, i: int, row: int, window: int, keys: "_Keys") -> Iterator[Segment]:
        """A chunk after a prefix, or under a window."""
        num_queries = self._step.query_lengths[i]
        start = self._step.context_lengths[i] - num_queries
        for offset in range(0, num_queries, MAX_ROWS):
            num_rows = min(MAX_ROWS, num_queries - offset)
            low, high = start + offset, start + offset + num_rows  # positions of these queries
            first = max(0, low - window + 1) if window else 0
            query_at, key_at = torch.arange(low, high).unsqueeze(1), torch.arange(first, high)
            is_hidden = key_at > query_at
            if window:
                is_hidden |= key_at <= query_at - window
            yield Segment(
                slice(row + offset, row + offset + num_rows), keys.of(i, first, high), 0, self._mask(is_hidden)
            )

    def _mask(self, is_hidden: Tensor) -> Tensor:
        mask = torch.zeros(is_hidden.shape, dtype=self._pool.slots.dtype).masked_fill_(is_hidden, float("-inf"))
        return mask.to(self._pool.slots.device)


class _ScratchLayout:
    """Which blocks of which sequences lie where in scratch, sequence after sequence."""

    def __init__(
        self, pool: PoolViews, is_consecutive: npt.NDArray[np.bool_], first_blocks: Ints, num_blocks: Ints
    ) -> None:
        self._pool = pool
        self.first_blocks = first_blocks
        self.counts: Ints = np.where(is_consecutive, 0, num_blocks - first_blocks)
        self._lengths = num_blocks - first_blocks

    def pad(self, num_decodes: int) -> None:
        """Gather these sequences whether consecutive or not, each as long as the longest."""
        self.counts[:num_decodes] = self._lengths[:num_decodes].max()

    @property
    def offsets(self) -> Ints:
        """Where each sequence begins, in blocks."""
        return np.cumsum(self.counts) - self.counts

    def gather(self, tables: Ints) -> tuple[Tensor | None, npt.NDArray[np.int64] | None]:
        """Scratch, and the pool rows to copy into it: first every K, then every V."""
        num_gathered = int(self.counts.sum())
        if not num_gathered:
            return None, None
        sequence = np.repeat(np.arange(len(self.counts)), self.counts)
        column = np.arange(num_gathered) - np.repeat(self.offsets - self.first_blocks, self.counts)
        blocks = tables[sequence, np.minimum(column, tables.shape[1] - 1)].astype(np.int64)
        return self._pool.scratch(num_gathered), np.concatenate((blocks, blocks + self._pool.num_blocks))


class _Keys:
    """Keys and values of one sequence's tokens, wherever they lie."""

    def __init__(self, pool: PoolViews, first_blocks: Ints, layout: _ScratchLayout, scratch: Tensor | None) -> None:
        self._pool = pool
        self._tables_begin = first_blocks
        self._counts = layout.counts
        self._scratch_begin = (layout.offsets - layout.first_blocks) * pool.block_size  # of token 0, may be negative
        self._scratch = None if scratch is None else scratch.view(2, -1, pool.num_kv_heads, pool.head_dim)

    def of(self, sequence: int, first: int, end: int) -> Sequence[KeysAndValues]:
        """Tokens [first, end) of one sequence."""
        if not self._counts[sequence]:
            return self._pool.in_place(int(self._tables_begin[sequence]) * self._pool.block_size + first, end - first)
        begin = int(self._scratch_begin[sequence])
        assert self._scratch is not None
        keys, values = self._scratch[:, begin + first : begin + end].transpose(1, 2).unsqueeze(1).unbind(0)
        return [(keys, values)] * self._pool.num_layers

    def padded(self, num_decodes: int, width: int) -> Sequence[KeysAndValues]:
        """The decodes' whole share of scratch."""
        assert self._scratch is not None
        share = self._scratch[:, : num_decodes * width].unflatten(1, (num_decodes, width))
        keys, values = share.transpose(2, 3).unbind(0)
        return [(keys, values)] * self._pool.num_layers
