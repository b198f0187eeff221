"""Which prompts share a row of a fixed-shape batch, so that little of it is padding.

Prepacking (arXiv 2404.09529): rows as long as the longest prompt, filled by first-fit decreasing; positions restart at
each prompt and attention is block-diagonal, so results are those of separate rows. Attention over ragged rows
(cu_seqlens) needs none of this; it is for what has captured or compiled shapes only: encoders, graph buckets.

    padding = rows * row_tokens - sum(lengths)      [tokens]
    rows   <= 11/9 * optimum + 6/9                  first-fit decreasing (Dosa 2007)
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PackedPrompt:
    """Prompt `index` lies at [start, start + num_tokens) of its row."""

    index: int
    start: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows of equal length. Row i holds `rows[i]`, the rest of it is padding."""

    row_tokens: int
    rows: tuple[tuple[PackedPrompt, ...], ...]

    @property
    def num_padding_tokens(self) -> int:
        return len(self.rows) * self.row_tokens - sum(prompt.num_tokens for row in self.rows for prompt in row)


def pack(lengths: Sequence[int], buckets: Sequence[int] = ()) -> PackedBatch:
    """Pack prompts of these lengths into rows of the smallest bucket that holds the longest.

    Without buckets a row is as long as the longest prompt. Raises ValueError when no bucket is long enough.
    """
    longest = max(lengths, default=0)
    row_tokens = min((bucket for bucket in buckets if bucket >= longest), default=None) if buckets else longest
    if row_tokens is None:
        raise ValueError(f"a prompt of {longest} tokens fits no bucket; the longest is {max(buckets)}")
    rows: list[list[PackedPrompt]] = []
    filled: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[index]
        row = next((row for row, used in enumerate(filled) if used + length <= row_tokens), None)
        if row is None:
            row = len(rows)
            rows.append([])
            filled.append(0)
        rows[row].append(PackedPrompt(index, filled[row], length))
        filled[row] += length
    return PackedBatch(row_tokens, tuple(tuple(row) for row in rows))


def best_bucket(lengths: Sequence[int], buckets: Sequence[int]) -> PackedBatch:
    """Of all bucket lengths that hold the longest prompt, the packing with the fewest tokens, padding included."""
    longest = max(lengths, default=0)
    packings = [pack(lengths, [bucket]) for bucket in buckets if bucket >= longest]
    if not packings:
        raise ValueError(f"a prompt of {longest} tokens fits no bucket; the longest is {max(buckets, default=0)}")
    return min(packings, key=lambda packing: (len(packing.rows) * packing.row_tokens, packing.row_tokens))
