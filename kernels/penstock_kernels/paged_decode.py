"""Decode attention over paged KV: one query token per sequence, the context split over programs, then a reduction.

    program (sequence, KV head, split)   reads its tokens of K and V once, for all query heads of the group
    split i of a sequence                tokens [first + i * split_tokens, first + (i + 1) * split_tokens);
                                         first = max(0, context - window)
    program (sequence, head)             weighs the splits' outputs by their log-sums

Splits beyond a sequence's end return at once. With one split the first kernel writes the answer itself.
"""
# ruff: noqa: PLR0917 (a device function has no nouns, only pointers and scalars)
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from penstock_kernels.attend_keys import attend_keys, fresh_state
from penstock_kernels.launch import MAX_NUM_SPLITS, Tile, choose_split_tokens, count_splits, decode_tile
from penstock_kernels.paged import PagedContext, Visibility


# Arguments that change from step to step are not specialised on, so no step waits for a compiler.
@triton.jit(
    do_not_specialize=["table_stride", "split_tokens"], do_not_specialize_on_alignment=["tables_ptr", "contexts_ptr"]
)
def attend_split(
    query_ptr,  # [num_sequences, num_heads, HEAD_DIM], heads contiguous
    kv_ptr,  # [2, num_blocks, BLOCK_SIZE, num_kv_heads, HEAD_DIM]
    tables_ptr,  # [num_sequences, max_blocks] int32
    contexts_ptr,  # [num_sequences] int32
    output_ptr,  # [num_sequences, num_heads, num_splits, HEAD_DIM]
    log_sums_ptr,  # [num_sequences, num_heads, num_splits] float32, log2 of the sums of weights
    query_stride,
    value_stride,
    table_stride,
    split_tokens,
    scale,  # of the logits, times log2(e)
    GROUP_SIZE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    NUM_ROWS: tl.constexpr,
    NUM_TOKENS: tl.constexpr,
    WINDOW: tl.constexpr,
):
    sequence, split = tl.program_id(0).to(tl.int64), tl.program_id(2)
    row, lane = tl.arange(0, NUM_ROWS), tl.arange(0, triton.next_power_of_2(HEAD_DIM))
    head = tl.program_id(1) * GROUP_SIZE + row
    cell = (sequence * tl.num_programs(1) * GROUP_SIZE + head) * tl.num_programs(2) + split
    context = tl.load(contexts_ptr + sequence)
    start = split * split_tokens + (tl.maximum(context - WINDOW, 0) if WINDOW > 0 else 0)
    if start >= context:
        tl.store(log_sums_ptr + cell, tl.full([NUM_ROWS], float("-inf"), tl.float32), mask=row < GROUP_SIZE)
        return
    mask = (row < GROUP_SIZE)[:, None] & (lane < HEAD_DIM)[None, :]
    query_at = query_ptr + sequence * query_stride + head[:, None] * HEAD_DIM + lane[None, :]
    query = tl.load(query_at, mask=mask, other=0.0)
    position = tl.zeros([NUM_ROWS], tl.int32) + context - 1
    end = tl.minimum(start + split_tokens, context)
    table = tables_ptr + sequence * table_stride
    state = fresh_state(NUM_ROWS, lane.shape[0])
    peak, total, output = attend_keys(query, position, start, end, kv_ptr, value_stride, table, scale, state,
                                      BLOCK_SIZE, HEAD_DIM, NUM_TOKENS, 0, True)  # fmt: skip
    output = (output / total[:, None]).to(output_ptr.dtype.element_ty)
    tl.store(output_ptr + cell[:, None] * HEAD_DIM + lane[None, :], output, mask=mask)
    tl.store(log_sums_ptr + cell, peak + tl.log2(total), mask=row < GROUP_SIZE)


@triton.jit(do_not_specialize=["num_splits"])
def reduce_splits(
    partial_ptr,  # [num_sequences, num_heads, num_splits, HEAD_DIM] float32
    log_sums_ptr,  # [num_sequences, num_heads, num_splits] float32
    output_ptr,  # [num_sequences, num_heads, HEAD_DIM]
    num_splits,
    HEAD_DIM: tl.constexpr,
    SPLITS_BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    split, lane = tl.arange(0, SPLITS_BLOCK), tl.arange(0, triton.next_power_of_2(HEAD_DIM))
    cell = row * num_splits + split
    log_sums = tl.load(log_sums_ptr + cell, mask=split < num_splits, other=float("-inf"))
    weights = tl.exp2(log_sums - tl.max(log_sums, 0))
    # An empty split wrote no output: what lies there may be NaN.
    mask = (weights > 0)[:, None] & (lane < HEAD_DIM)[None, :]
    partial = tl.load(partial_ptr + cell[:, None] * HEAD_DIM + lane[None, :], mask=mask, other=0.0)
    output = tl.sum(weights[:, None] * partial, 0) / tl.sum(weights, 0)
    tl.store(output_ptr + row * HEAD_DIM + lane, output.to(output_ptr.dtype.element_ty), mask=lane < HEAD_DIM)


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """How the work of one step is cut; shared by all layers that look equally far."""

    tile: Tile
    visibility: Visibility
    split_tokens: int
    num_splits: int
    partial: Tensor  # [num_sequences, num_heads, num_splits, head_dim] float32; nothing with one split
    log_sums: Tensor  # [num_sequences, num_heads, num_splits] float32


def plan_decode(
    context_lengths: Sequence[int], kv: Tensor, num_heads: int, visibility: Visibility, num_sms: int
) -> DecodePlan:
    """Cut one step of these sequences. kv: [..., num_kv_heads, head_dim]."""
    num_kv_heads, head_dim = kv.shape[-2:]
    tile = decode_tile(num_heads // num_kv_heads, head_dim, kv.element_size())
    window = visibility.window
    visible = [min(length, window) if window > 0 else length for length in context_lengths]
    split_tokens = choose_split_tokens(visible, num_kv_heads, num_sms, tile.num_tokens)
    num_splits = count_splits(visible, split_tokens)
    shape = (len(visible), num_heads, num_splits)
    partial = torch.empty((*shape, head_dim) if num_splits > 1 else (0,), dtype=torch.float32, device=kv.device)
    log_sums = torch.empty(shape, dtype=torch.float32, device=kv.device)
    return DecodePlan(tile, visibility, split_tokens, num_splits, partial, log_sums)


def paged_decode(query: Tensor, paged: PagedContext, plan: DecodePlan, output: Tensor) -> None:
    """Attention of one query token per sequence to its context, into `output`.

    query: [num_sequences, num_heads, head_dim], heads contiguous   output: [num_sequences, num_heads * head_dim]
    """
    num_sequences, num_heads, head_dim = query.shape
    is_split = plan.num_splits > 1
    attend_split[(num_sequences, paged.num_kv_heads, plan.num_splits)](
        query,
        paged.kv,
        paged.block_tables,
        paged.contexts,
        plan.partial if is_split else output,
        plan.log_sums,
        query.stride(0),
        paged.kv.stride(0),
        paged.block_tables.stride(0),
        plan.split_tokens,
        plan.visibility.scale * math.log2(math.e),
        GROUP_SIZE=num_heads // paged.num_kv_heads,
        BLOCK_SIZE=paged.block_size,
        HEAD_DIM=head_dim,
        NUM_ROWS=plan.tile.num_rows,
        NUM_TOKENS=plan.tile.num_tokens,
        WINDOW=plan.visibility.window,
        num_warps=plan.tile.num_warps,
        num_stages=plan.tile.num_stages,
    )
    if is_split:
        reduce_splits[(num_sequences, num_heads)](
            plan.partial,
            plan.log_sums,
            output,
            plan.num_splits,
            HEAD_DIM=head_dim,
            SPLITS_BLOCK=MAX_NUM_SPLITS,
            num_warps=4,
        )
