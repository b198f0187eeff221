"""What the kernels compute, in plain torch: one sequence at a time, in float32. The oracle of tests and benchmarks."""

import torch
from torch import Tensor

from penstock_kernels.paged import PagedContext, Visibility


def rotate_and_write(qkv: Tensor, rope: Tensor, positions: Tensor, slots: Tensor, kv: Tensor) -> Tensor:
    """Rotate queries and keys, write keys and values to their slots, return the rotated queries.

    qkv: [num_tokens, num_heads + 2 * num_kv_heads, head_dim]   rope: [max_positions, head_dim] float32, cos | sin
    positions, slots: [num_tokens] int64   kv: [2, num_blocks, block_size, num_kv_heads, head_dim], written
    """
    _, _, block_size, num_kv_heads, _ = kv.shape
    num_heads = qkv.shape[1] - 2 * num_kv_heads
    cos, sin = rope[positions].float()[:, None].chunk(2, dim=-1)
    first, second = qkv[:, : num_heads + num_kv_heads].float().chunk(2, dim=-1)
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(qkv.dtype)
    block, offset = slots // block_size, slots % block_size
    kv[0, block, offset] = rotated[:, num_heads:]
    kv[1, block, offset] = qkv[:, num_heads + num_kv_heads :]
    return rotated[:, :num_heads]


def paged_attention(query: Tensor, paged: PagedContext, visibility: Visibility) -> Tensor:
    """Causal attention of runs of query tokens at the ends of their contexts -> [num_tokens, num_heads * head_dim].

    query: [num_tokens, num_heads, head_dim], num_tokens = query_starts[-1]
    """
    group_size = query.shape[1] // paged.num_kv_heads
    output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    starts = paged.query_starts.tolist()
    for sequence, context in enumerate(paged.contexts.tolist()):
        run = slice(starts[sequence], starts[sequence + 1])
        blocks = paged.block_tables[sequence, : -(-context // paged.block_size)].long()
        k, v = (
            part[blocks].flatten(0, 1)[:context].float().repeat_interleave(group_size, dim=1)  # [context, heads, dim]
            for part in paged.kv
        )
        logits = torch.einsum("qhd,khd->hqk", query[run].float(), k) * visibility.scale
        query_at = torch.arange(context - (run.stop - run.start), context, device=query.device)[:, None]
        key_at = torch.arange(context, device=query.device)[None]
        is_hidden = key_at > query_at
        if visibility.window > 0:
            is_hidden |= key_at <= query_at - visibility.window
        logits.masked_fill_(is_hidden, float("-inf"))
        output[run] = torch.einsum("hqk,khd->qhd", logits.softmax(-1), v).to(query.dtype)
    return output.flatten(1)
