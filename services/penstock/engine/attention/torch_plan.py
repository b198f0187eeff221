"""How TorchAttention runs one step: which queries meet which keys in one call, and which keys are gathered first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from penstock.engine.attention.protocol import AttentionStep

MAX_ROWS = 256  # queries per call where a mask is needed: bounds the mask, and skips keys after the last of these rows
SHORT_CONTEXT_TOKENS = 128  # decodes up to here are cheaper gathered into one call than in a call each (measured)
MIN_SHORT_DECODES = 4  # ... if there are at least so many
MAX_PADDING = 1.5  # longer ones, if scattered, run as one call while padded / real tokens stays below (measured)

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
        self.slots_of_layer, self.blocks_of_layer = self.slots.unbind(0), self.blocks.unbind(0)
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
        self._num_blocks = [-(-context // pool.block_size) for context in step.context_lengths]

    def slots(self) -> slice | Tensor:
        """Where the step's KV is written, as one range if it is one."""
        if self._step.num_sequences != 1 or not self._is_consecutive[0]:
            return self._step.slots
        first = int(self._tables[0, 0]) * self._pool.block_size
        context = self._step.context_lengths[0]
        return slice(first + context - self._step.query_lengths[0], first + context)

    def plan(self, window: int) -> Plan:
        """window: as in AttentionGeometry."""
        firsts = self._first_visible(window)
        num_padded = self._step.num_decodes if self._is_padded(firsts) else 0
        gather = _Gather(self._pool)
        width = gather.add_padded(self._tables[:num_padded], self._num_blocks, firsts) if num_padded else 0
        begins = {}
        for i in range(num_padded, self._step.num_sequences):
            if not self._is_consecutive[i]:
                first_block = firsts[i] // self._pool.block_size
                begins[i] = gather.add(self._tables[i, first_block : self._num_blocks[i]]) - first_block
        gathered, scratch = gather.finish()
        keys = _Keys(self._pool, self._tables, begins, scratch)
        decodes = [self._padded_decodes(firsts, width, keys)] if num_padded else self._decodes(firsts, keys)
        return Plan([*decodes, *self._prefills(window, keys)], gathered, scratch)

    @cached_property
    def _is_consecutive(self) -> Sequence[bool]:
        """Per sequence, whether its blocks lie side by side, so that its keys can be read in place."""
        is_joined = self._tables[:, 1:] - self._tables[:, :-1] == 1
        is_joined |= np.arange(1, self._tables.shape[1]) >= np.array(self._num_blocks)[:, None]
        is_consecutive: list[bool] = is_joined.all(axis=1).tolist()
        return is_consecutive

    def _first_visible(self, window: int) -> list[int]:
        """Per sequence, the position of the first key that any of its queries sees."""
        step = self._step
        if not window:
            return [0] * step.num_sequences
        runs = zip(step.context_lengths, step.query_lengths, strict=True)
        return [max(0, context - num_queries - window + 1) for context, num_queries in runs]

    def _is_padded(self, firsts: Sequence[int]) -> bool:
        """Whether the decodes run as one call on gathered, padded keys."""
        num_decodes = self._step.num_decodes
        if num_decodes < 2:
            return False
        lengths = [
            context - first for context, first in zip(self._step.context_lengths[:num_decodes], firsts, strict=False)
        ]
        longest = max(lengths)
        if longest <= SHORT_CONTEXT_TOKENS and num_decodes >= MIN_SHORT_DECODES:
            return True
        return longest * num_decodes <= MAX_PADDING * sum(lengths) and not all(self._is_consecutive[:num_decodes])

    def _padded_decodes(self, firsts: Sequence[int], width: int, keys: "_Keys") -> Segment:
        num_decodes, positions = self._step.num_decodes, np.arange(width)
        if any(firsts):
            first = np.array(firsts[:num_decodes])[:, None]
            positions = first // self._pool.block_size * self._pool.block_size + positions
            is_hidden = (positions < first) | (positions >= self._contexts_of_decodes())
        else:
            is_hidden = positions >= self._contexts_of_decodes()
        mask = self._mask(is_hidden).view(num_decodes, 1, 1, width)
        return Segment(slice(0, num_decodes), keys.padded(num_decodes, width), num_decodes, mask)

    def _contexts_of_decodes(self) -> Ints:
        return np.array(self._step.context_lengths[: self._step.num_decodes])[:, None]

    def _decodes(self, firsts: Sequence[int], keys: "_Keys") -> Iterator[Segment]:
        for i in range(self._step.num_decodes):
            yield Segment(slice(i, i + 1), keys.of(i, firsts[i], self._step.context_lengths[i]), num_decodes=1)

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
            query_at, key_at = np.arange(low, high)[:, None], np.arange(first, high)
            is_hidden = key_at > query_at
            if window:
                is_hidden |= key_at <= query_at - window
            yield Segment(
                slice(row + offset, row + offset + num_rows), keys.of(i, first, high), 0, self._mask(is_hidden)
            )

    def _mask(self, is_hidden: npt.NDArray[np.bool_]) -> Tensor:
        """What is added to the logits."""
        mask = torch.from_numpy(np.where(is_hidden, np.float32(-np.inf), np.float32(0)))
        return mask.to(self._pool.slots.device, self._pool.slots.dtype)


class _Gather:
    """Which blocks are copied into scratch, one after the other."""

    def __init__(self, pool: PoolViews) -> None:
        self._pool = pool
        self._parts: list[Ints] = []
        self._num_blocks = 0

    def add(self, blocks: Ints) -> int:
        """Append these; returns where in scratch they begin."""
        begin = self._num_blocks
        self._parts.append(blocks)
        self._num_blocks += len(blocks)
        return begin

    def add_padded(self, tables: Ints, num_blocks: Sequence[int], firsts: Sequence[int]) -> int:
        """Append the visible blocks of all these sequences, padded to the longest; returns its length in tokens."""
        first_blocks = [first // self._pool.block_size for first in firsts[: len(tables)]]
        longest = max(map(int.__sub__, num_blocks, first_blocks))
        if any(first_blocks):
            columns = np.array(first_blocks)[:, None] + np.arange(longest)
            tables = np.take_along_axis(tables, np.minimum(columns, tables.shape[1] - 1), axis=1)
        self.add(tables[:, :longest].ravel())
        return longest * self._pool.block_size

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """The pool rows to copy, first every K, then every V; and scratch for them."""
        if not self._parts:
            return None, None
        blocks = np.concatenate(self._parts)
        rows = torch.from_numpy(np.concatenate((blocks, blocks + self._pool.num_blocks)))
        return rows.to(self._pool.slots.device), self._pool.scratch(self._num_blocks)


class _Keys:
    """Keys and values of one sequence's tokens, wherever they lie."""

    def __init__(self, pool: PoolViews, tables: Ints, begins: Mapping[int, int], scratch: Tensor | None) -> None:
        self._pool = pool
        self._tables = tables
        self._begins = begins  # by gathered sequence: where its block 0 would be in scratch, may be negative
        self._scratch = None if scratch is None else scratch.view(2, -1, pool.num_kv_heads, pool.head_dim)

    def of(self, sequence: int, first: int, end: int) -> Sequence[KeysAndValues]:
        """Tokens [first, end) of one sequence."""
        block_size = self._pool.block_size
        if sequence not in self._begins:
            return self._pool.in_place(int(self._tables[sequence, 0]) * block_size + first, end - first)
        begin = self._begins[sequence] * block_size
        assert self._scratch is not None
        keys, values = self._scratch[:, begin + first : begin + end].transpose(1, 2).unsqueeze(1).unbind(0)
        return [(keys, values)] * self._pool.num_layers

    def padded(self, num_decodes: int, width: int) -> Sequence[KeysAndValues]:
        """The decodes' whole share of scratch."""
        assert self._scratch is not None
        share = self._scratch[:, : num_decodes * width].unflatten(1, (num_decodes, width))
        keys, values = share.transpose(2, 3).unbind(0)
        return [(keys, values)] * self._pool.num_layers
