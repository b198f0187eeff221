"""The loop both attention kernels are made of: online softmax of some query rows over a range of paged keys.

Exponentials are powers of two, with log2(e) folded into the scale of the logits. Softmax and output are float32; the
products run in the model's type with float32 sums (float32 models: three products of tf32, which keep its accuracy and
the tensor cores, where plain float32 would spill registers by the thousand).

The running state of a row is (peak, total, output): its largest logit, the sum of its weights, and the weighted sum of
values, not yet divided by `total`.
"""
# ruff: noqa: PLR0917 (a device function has no nouns, only pointers and scalars)
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def fresh_state(NUM_ROWS: tl.constexpr, DIM_BLOCK: tl.constexpr):
    """(peak, total, output) before any key."""
    peak = tl.full([NUM_ROWS], float("-inf"), tl.float32)
    return peak, tl.zeros([NUM_ROWS], tl.float32), tl.zeros([NUM_ROWS, DIM_BLOCK], tl.float32)


@triton.jit
def _load_rows(base_ptr, rows, is_inside, HEAD_DIM: tl.constexpr, DIM_BLOCK: tl.constexpr, IS_MASKED: tl.constexpr):
    """[len(rows), DIM_BLOCK]; zero outside, since garbage there could be NaN, and 0 * NaN is NaN."""
    lane = tl.arange(0, DIM_BLOCK)
    at = base_ptr + rows[:, None] + lane[None, :]
    if IS_MASKED:
        return tl.load(at, mask=is_inside[:, None] & (lane < HEAD_DIM)[None, :], other=0.0)
    if HEAD_DIM == DIM_BLOCK:
        return tl.load(at)
    return tl.load(at, mask=(lane < HEAD_DIM)[None, :], other=0.0)


@triton.jit
def attend_keys(
    query,  # [NUM_ROWS, DIM_BLOCK]
    position,  # [NUM_ROWS] place of each row's token in the sequence
    start,
    end,  # the keys are those at [start, end); unmasked, a multiple of NUM_TOKENS of them, all seen by every row
    kv_ptr,  # [2, num_blocks, BLOCK_SIZE, num_kv_heads, HEAD_DIM]; the launch grid's second axis is the KV head
    value_stride,  # from a key to its value
    table_ptr,  # block table of the sequence
    scale,  # of the logits, times log2(e)
    state,
    BLOCK_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    NUM_TOKENS: tl.constexpr,
    WINDOW: tl.constexpr,
    IS_MASKED: tl.constexpr,
):
    peak, total, output = state
    DIM_BLOCK: tl.constexpr = output.shape[1]
    base_ptr = kv_ptr + tl.program_id(1) * HEAD_DIM
    for tile_start in tl.range(start, end, NUM_TOKENS):
        key = tile_start + tl.arange(0, NUM_TOKENS)
        is_inside = key < end
        block = tl.load(table_ptr + key // BLOCK_SIZE, mask=is_inside, other=0).to(tl.int64)
        rows = (block * BLOCK_SIZE + key % BLOCK_SIZE) * (tl.num_programs(1) * HEAD_DIM)
        k = _load_rows(base_ptr, rows, is_inside, HEAD_DIM, DIM_BLOCK, IS_MASKED)
        logits = tl.dot(query, tl.trans(k), input_precision="tf32x3") * scale
        if IS_MASKED:
            logits = tl.where(_is_seen(key, position, end, WINDOW), logits, float("-inf"))
        new_peak = tl.maximum(peak, tl.max(logits, 1))
        anchor = tl.where(new_peak == float("-inf"), 0.0, new_peak)  # a row that saw nothing yet: -inf - -inf is NaN
        weights = tl.exp2(logits - anchor[:, None])
        shrink = tl.exp2(peak - anchor)
        v = _load_rows(base_ptr + value_stride, rows, is_inside, HEAD_DIM, DIM_BLOCK, IS_MASKED)
        output = tl.dot(weights.to(v.dtype), v, output * shrink[:, None], input_precision="tf32x3")
        total = total * shrink + tl.sum(weights, 1)
        peak = new_peak
    return peak, total, output


@triton.jit
def _is_seen(key, position, end, WINDOW: tl.constexpr):
    """[NUM_ROWS, NUM_TOKENS]: causal, within the window, within the range."""
    is_seen = (key[None, :] <= position[:, None]) & (key < end)[None, :]
    if WINDOW > 0:
        is_seen = is_seen & (key[None, :] > position[:, None] - WINDOW)
    return is_seen
