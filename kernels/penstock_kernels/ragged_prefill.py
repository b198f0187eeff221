"""Prefill attention: runs of query tokens of different lengths, each at the end of its context in paged KV.

A run's own K and V are in the pool already, so a cached prefix, an earlier chunk and the run itself are one context.

    program (tile, KV head)   rows: the tile's query tokens times the heads of the group, so K and V are read once
    keys of a tile            [ first ................... full_end ................... end )
                                seen by every row, no mask         causal or window mask

Tiles are listed on the host, those with most keys first, so that the last to run are short.
"""
# ruff: noqa: PLR0917 (a device function has no nouns, only pointers and scalars)
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from penstock_kernels.attend_keys import attend_keys, fresh_state
from penstock_kernels.launch import Tile, list_tiles, prefill_tile
from penstock_kernels.paged import PagedContext, Visibility


# Arguments that change from step to step are not specialised on, so no step waits for a compiler.
@triton.jit(
    do_not_specialize=["table_stride"],
    do_not_specialize_on_alignment=["tables_ptr", "query_starts_ptr", "contexts_ptr"],
)
def attend_tile(
    query_ptr,  # [num_tokens, num_heads, HEAD_DIM], heads contiguous
    kv_ptr,  # [2, num_blocks, BLOCK_SIZE, num_kv_heads, HEAD_DIM]
    tables_ptr,  # [num_sequences, max_blocks] int32
    query_starts_ptr,  # [num_sequences + 1] int32
    contexts_ptr,  # [num_sequences] int32
    tiles_ptr,  # [2, num_tiles] int32: sequences, first tokens within their runs
    output_ptr,  # [num_tokens, num_heads, HEAD_DIM]
    query_stride,
    value_stride,
    table_stride,
    scale,  # of the logits, times log2(e)
    GROUP_SIZE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    NUM_ROWS: tl.constexpr,
    NUM_TOKENS: tl.constexpr,
    WINDOW: tl.constexpr,
):
    TILE_QUERIES: tl.constexpr = NUM_ROWS // GROUP_SIZE
    sequence, first = tl.load(tiles_ptr + tl.program_id(0)), tl.load(tiles_ptr + tl.num_programs(0) + tl.program_id(0))
    run_start = tl.load(query_starts_ptr + sequence)
    run_length = tl.load(query_starts_ptr + sequence + 1) - run_start
    num_before = tl.load(contexts_ptr + sequence) - run_length  # context tokens before the run
    row, lane = tl.arange(0, NUM_ROWS), tl.arange(0, triton.next_power_of_2(HEAD_DIM))
    in_run, head = first + row // GROUP_SIZE, tl.program_id(1) * GROUP_SIZE + row % GROUP_SIZE
    is_row = ((row < TILE_QUERIES * GROUP_SIZE) & (in_run < run_length))[:, None]
    mask = is_row & (lane < HEAD_DIM)[None, :]
    token, place = (run_start + in_run).to(tl.int64)[:, None], head[:, None] * HEAD_DIM + lane[None, :]
    query, position = tl.load(query_ptr + token * query_stride + place, mask=mask, other=0.0), num_before + in_run
    end = num_before + tl.minimum(first + TILE_QUERIES, run_length)
    start = tl.maximum(num_before + first - WINDOW + 1, 0) if WINDOW > 0 else 0
    full_end = start if WINDOW > 0 else (num_before + first + 1) // NUM_TOKENS * NUM_TOKENS
    table, state = tables_ptr + sequence.to(tl.int64) * table_stride, fresh_state(NUM_ROWS, lane.shape[0])
    state = attend_keys(query, position, start, full_end, kv_ptr, value_stride, table, scale, state,
                        BLOCK_SIZE, HEAD_DIM, NUM_TOKENS, WINDOW, False)  # fmt: skip
    _, total, output = attend_keys(query, position, full_end, end, kv_ptr, value_stride, table, scale, state,
                                   BLOCK_SIZE, HEAD_DIM, NUM_TOKENS, WINDOW, True)  # fmt: skip
    output = (output / tl.where(is_row, total[:, None], 1.0)).to(output_ptr.dtype.element_ty)
    tl.store(output_ptr + token * (tl.num_programs(1) * GROUP_SIZE * HEAD_DIM) + place, output, mask=mask)


@dataclass(frozen=True, slots=True)
class PrefillPlan:
    """How the work of one step is cut; shared by all layers."""

    tile: Tile
    tiles: Tensor  # [2, num_tiles] int32: sequences, first tokens within their runs


def plan_prefill(
    query_lengths: Sequence[int], context_lengths: Sequence[int], first_sequence: int, kv: Tensor, num_heads: int
) -> PrefillPlan:
    """Cut the runs of one step, from `first_sequence` on. kv: [..., num_kv_heads, head_dim]."""
    num_kv_heads, head_dim = kv.shape[-2:]
    group_size = num_heads // num_kv_heads
    tile = prefill_tile(group_size, head_dim, kv.element_size())
    tiles = list_tiles(query_lengths, context_lengths, first_sequence, tile.num_rows // group_size)
    host = torch.from_numpy(np.array(tiles, dtype=np.int32).reshape(-1, 2).T.copy())
    return PrefillPlan(tile, host.pin_memory().to(kv.device, non_blocking=True) if kv.is_cuda else host)


def ragged_prefill(
    query: Tensor, paged: PagedContext, plan: PrefillPlan, visibility: Visibility, output: Tensor
) -> None:
    """Causal attention of the plan's runs to their contexts, into their rows of `output`.

    query: [num_tokens, num_heads, head_dim], heads contiguous   output: [num_tokens, num_heads * head_dim], contiguous
    """
    _, num_heads, head_dim = query.shape
    attend_tile[(plan.tiles.shape[1], paged.num_kv_heads)](
        query,
        paged.kv,
        paged.block_tables,
        paged.query_starts,
        paged.contexts,
        plan.tiles,
        output,
        query.stride(0),
        paged.kv.stride(0),
        paged.block_tables.stride(0),
        visibility.scale * math.log2(math.e),
        GROUP_SIZE=num_heads // paged.num_kv_heads,
        BLOCK_SIZE=paged.block_size,
        HEAD_DIM=head_dim,
        NUM_ROWS=plan.tile.num_rows,
        NUM_TOKENS=plan.tile.num_tokens,
        WINDOW=visibility.window,
        num_warps=plan.tile.num_warps,
        num_stages=plan.tile.num_stages,
    )
