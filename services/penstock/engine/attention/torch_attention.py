"""Attention in plain torch: what CPUs run, and what other backends are tested against.

What layers share is planned once per step (`torch_plan`). Keys and values are read in place where a sequence's blocks
are consecutive, and gathered into one scratch buffer where they are not. Decodes of similar length run as one padded
call; each other run of queries is one call of scaled_dot_product_attention.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from penstock.engine.attention.protocol import AttentionGeometry, AttentionStep
from penstock.engine.attention.torch_plan import Plan, Planner, PoolViews, Segment


class TorchAttention:
    """Implements Attention."""

    def __init__(self, geometry: AttentionGeometry, rope: Tensor, kv: Tensor) -> None:
        self._geometry = geometry
        self._num_qk_heads = geometry.num_heads + geometry.num_kv_heads
        cosines, sines = rope.to(kv.device, kv.dtype).chunk(2, dim=-1)
        self._cosines = torch.cat((cosines, cosines), dim=-1)  # [max_positions, head_dim]
        self._sines = torch.cat((-sines, sines), dim=-1)
        self._pool = PoolViews(kv)
        self._cos = self._sin = self._cosines  # of this step's tokens: [num_tokens, 1, head_dim]
        self._slots: slice | Tensor = slice(0)
        self._plans: dict[int, Plan] = {}

    def begin(self, step: AttentionStep) -> None:
        self._cos = self._cosines.index_select(0, step.positions).unsqueeze(1)
        self._sin = self._sines.index_select(0, step.positions).unsqueeze(1)
        planner = Planner(self._pool, step)
        self._slots = planner.slots()
        self._plans = {window: planner.plan(window) for window in set(self._geometry.windows)}

    def rotate_and_write(self, layer: int, qkv: Tensor) -> Tensor:
        geometry = self._geometry
        qk = qkv[:, : self._num_qk_heads]
        turned = qk.roll(geometry.head_dim // 2, -1)  # i and i + head_dim / 2 swapped; the sign is in the sines
        torch.addcmul(qk * self._cos, turned, self._sin, out=qk)
        written = qkv[:, geometry.num_heads :].unflatten(1, (2, geometry.num_kv_heads)).transpose(0, 1)
        pool = self._pool.slots[layer]
        if isinstance(self._slots, slice):
            pool[:, self._slots].copy_(written)
        else:
            pool.index_copy_(1, self._slots, written)
        return qkv[:, : geometry.num_heads]

    def attend(self, layer: int, query: Tensor) -> Tensor:
        plan = self._plans[self._geometry.windows[layer]]
        if plan.gathered is not None:
            torch.index_select(self._pool.blocks[layer], 0, plan.gathered, out=plan.scratch)
        outputs = [self._run(segment, layer, query[segment.rows]) for segment in plan.segments]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _run(self, segment: Segment, layer: int, query: Tensor) -> Tensor:
        """query: [num_rows, num_heads, head_dim] -> [num_rows, num_heads * head_dim]."""
        keys, values = segment.kv[layer]
        if segment.num_decodes:
            # the query heads of one KV head become rows, so each key is read once
            shape = (segment.num_decodes, self._geometry.num_kv_heads, -1, self._geometry.head_dim)
            output = scaled_dot_product_attention(
                query.view(shape), keys, values, attn_mask=segment.mask, scale=self._geometry.scale
            )
            return output.reshape(segment.num_decodes, -1)
        output = scaled_dot_product_attention(
            query.transpose(0, 1).unsqueeze(0),
            keys,
            values,
            attn_mask=segment.mask,
            is_causal=segment.is_causal,
            scale=self._geometry.scale,
            enable_gqa=True,
        )
        return output.transpose(1, 2).reshape(query.shape[0], -1)
