"""Rope on queries and keys and the write of K and V to their slots, in one pass over the projections' output.

Memory-bound: every element is read once and written once. One program takes a few heads of one token; whether a head
is a query (rotated in place), a key (rotated into the pool) or a value (copied into the pool) is a mask.
"""
# ruff: noqa: PLR0917 (a device function has no nouns, only pointers and scalars)
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"

import triton
import triton.language as tl
from torch import Tensor

_HEADS_PER_PROGRAM = 8


# Arguments that change from step to step are not specialised on, so no step waits for a compiler.
@triton.jit(do_not_specialize_on_alignment=["positions_ptr", "slots_ptr"])
def rotate_heads(
    qkv_ptr,  # [num_tokens, num_heads + 2 * num_kv_heads, HEAD_DIM], heads contiguous
    rope_ptr,  # [max_positions, HEAD_DIM] float32, cosines, then sines
    positions_ptr,  # [num_tokens] int64
    slots_ptr,  # [num_tokens] int64
    kv_ptr,  # [2, num_blocks * block_size, num_kv_heads, HEAD_DIM]
    qkv_stride,
    value_stride,
    num_heads,
    num_kv_heads,
    HEAD_DIM: tl.constexpr,
    HEADS_BLOCK: tl.constexpr,
):
    HALF: tl.constexpr = HEAD_DIM // 2
    token = tl.program_id(0).to(tl.int64)
    head, lane = tl.program_id(1) * HEADS_BLOCK + tl.arange(0, HEADS_BLOCK), tl.arange(0, triton.next_power_of_2(HALF))
    exists = (head < num_heads + 2 * num_kv_heads)[:, None] & (lane < HALF)[None, :]
    is_query, is_value = (head < num_heads)[:, None], (head >= num_heads + num_kv_heads)[:, None]

    rope_row = rope_ptr + tl.load(positions_ptr + token) * HEAD_DIM + lane
    cos = tl.load(rope_row, mask=lane < HALF, other=0.0)[None, :]
    sin = tl.load(rope_row + HALF, mask=lane < HALF, other=0.0)[None, :]
    source = qkv_ptr + token * qkv_stride + head[:, None] * HEAD_DIM + lane[None, :]
    first = tl.load(source, mask=exists, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=exists, other=0.0).to(tl.float32)
    new_first = tl.where(is_value, first, first * cos - second * sin).to(qkv_ptr.dtype.element_ty)
    new_second = tl.where(is_value, second, second * cos + first * sin).to(qkv_ptr.dtype.element_ty)

    tl.store(source, new_first, mask=exists & is_query)
    tl.store(source + HALF, new_second, mask=exists & is_query)
    slot = tl.load(slots_ptr + token) * num_kv_heads
    kv_head = head[:, None] - num_heads - tl.where(is_value, num_kv_heads, 0)
    target = kv_ptr + tl.where(is_value, value_stride, 0) + (slot + kv_head) * HEAD_DIM + lane[None, :]
    tl.store(target, new_first, mask=exists & ~is_query)
    tl.store(target + HALF, new_second, mask=exists & ~is_query)


def rotate_and_write(qkv: Tensor, rope: Tensor, positions: Tensor, slots: Tensor, kv: Tensor) -> Tensor:
    """Rotate queries (in place) and keys, write keys and values to their slots, return a view of the queries.

    qkv: [num_tokens, num_heads + 2 * num_kv_heads, head_dim], heads contiguous
    rope: [max_positions, head_dim] float32, cosines, then sines   positions, slots: [num_tokens] int64
    kv: [2, num_blocks, block_size, num_kv_heads, head_dim], contiguous, in the type of qkv
    """
    num_tokens, num_all_heads, head_dim = qkv.shape
    num_kv_heads = kv.shape[3]
    num_heads = num_all_heads - 2 * num_kv_heads
    rotate_heads[(num_tokens, triton.cdiv(num_all_heads, _HEADS_PER_PROGRAM))](
        qkv,
        rope,
        positions,
        slots,
        kv,
        qkv.stride(0),
        kv.stride(0),
        num_heads,
        num_kv_heads,
        HEAD_DIM=head_dim,
        HEADS_BLOCK=_HEADS_PER_PROGRAM,
        num_warps=2,
    )
    return qkv[:, :num_heads]
