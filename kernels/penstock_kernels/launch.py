"""How kernels are launched: tiles by head size, work split by context. Pure functions; nothing is tuned at run time.

The shared memory of a stage (one tile of K and one of V) times the number of stages, plus the queries, has to stay
under the 227 KiB a program can have on Hopper; the tests hold every choice to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_MIN_SPLIT_TOKENS = 256  # less per program and the partial results cost more than they spread
MAX_NUM_SPLITS = 64  # of one sequence: what one program of the reduction holds at once
_PROGRAMS_PER_SM = 2
_NUM_WAVES = 4  # with several units of work per SM, the longest one is at most a quarter of an SM's share


@dataclass(frozen=True, slots=True)
class Tile:
    """Shape of one program's work and how it is compiled."""

    num_rows: int  # of queries: (token, head of the group) pairs
    num_tokens: int  # of K and V per iteration
    num_warps: int
    num_stages: int


def next_power_of_2(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def decode_tile(group_size: int, head_dim: int, element_bytes: int) -> Tile:
    """Rows are the heads of one group: at least 16, what the tensor cores take.

    Memory-bound. Five stages because a key waits for its block number: two tiles are then in flight, three programs fit
    on an SM of Hopper, and 190 KB are on their way, several times what its latency and bandwidth ask for.
    """
    num_rows = max(16, next_power_of_2(group_size))
    row_bytes = next_power_of_2(head_dim) * element_bytes
    return Tile(num_rows, num_tokens=max(16, min(128, 16384 // row_bytes)), num_warps=4, num_stages=5)


def prefill_tile(group_size: int, head_dim: int, element_bytes: int) -> Tile:
    """Rows are (token, head of the group) pairs, so that K and V are read once per group."""
    row_bytes = next_power_of_2(head_dim) * element_bytes
    num_rows = 128 if row_bytes <= 256 else 64
    num_rows = max(num_rows, next_power_of_2(group_size))
    num_tokens = max(16, min(128, 16384 // row_bytes))
    return Tile(num_rows, num_tokens, num_warps=8 if num_rows >= 128 else 4, num_stages=3 if row_bytes <= 256 else 2)


def choose_split_tokens(context_lengths: Sequence[int], num_kv_heads: int, num_sms: int, tile_tokens: int) -> int:
    """How many context tokens one program of the decode kernel takes; a multiple of the tile.

    Work is cut into units of equal length rather than each sequence into an equal number of them: one long context in a
    batch of short ones is then spread over the device, and no program is the last to finish by much (the idea of
    LeanAttention, arXiv:2405.10480). A batch too small to fill the device gets one unit per slot.
    """
    slots = num_sms * _PROGRAMS_PER_SM
    longest = max(context_lengths)
    total_tokens = sum(context_lengths) * num_kv_heads
    num_units = slots if len(context_lengths) * num_kv_heads <= slots else slots * _NUM_WAVES
    wanted = max(_MIN_SPLIT_TOKENS, _ceil_div(longest, MAX_NUM_SPLITS), _ceil_div(total_tokens, num_units))
    num_splits = max(1, round(longest / wanted))  # rounded: a last unit of a few tokens is not worth a reduction
    return _ceil_div(_ceil_div(longest, num_splits), tile_tokens) * tile_tokens


def count_splits(context_lengths: Sequence[int], split_tokens: int) -> int:
    """Units of the longest context."""
    return _ceil_div(max(context_lengths), split_tokens)


def list_tiles(
    query_lengths: Sequence[int], context_lengths: Sequence[int], first_sequence: int, tile_queries: int
) -> list[tuple[int, int]]:
    """(sequence, first token within its run) of every tile from `first_sequence` on, those with most keys first."""
    tiles = [
        (context_lengths[sequence] - query_lengths[sequence] + start, sequence, start)
        for sequence in range(first_sequence, len(query_lengths))
        for start in range(0, query_lengths[sequence], tile_queries)
    ]
    return [(sequence, start) for _, sequence, start in sorted(tiles, reverse=True)]


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
