"""Attention in plain torch: what CPUs run, and what other backends are tested against.

What layers share is planned once per step (`torch_plan`). Keys and values are read in place where a sequence's blocks
are consecutive, and gathered into one scratch buffer where they are not. Decodes of similar length run as one padded
call; each other run of queries is one call of scaled_dot_product_attention.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from penstock.engine.attention.protocol import MAX_KEPT_TOKENS, AttentionGeometry, AttentionStep
from penstock.engine.attention.torch_plan import Plan, Planner, PoolViews, Segment


class QkvViews:
    """The parts of a step's qkv that rope and the pool see. Made once where all layers share one buffer."""

    def __init__(self, qkv: Tensor, geometry: AttentionGeometry) -> None:
        num_heads, num_kv_heads, half = geometry.num_heads, geometry.num_kv_heads, geometry.head_dim // 2
        self.qkv = qkv
        self.query = qkv[:, :num_heads]
        self.rotated = qkv[:, : num_heads + num_kv_heads]
        self.low, self.high = self.rotated[..., :half], self.rotated[..., half:]
        self.turned = torch.empty_like(self.rotated)
        self.turned_low, self.turned_high = self.turned[..., :half], self.turned[..., half:]
        self.written = qkv[:, num_heads:].unflatten(1, (2, num_kv_heads)).transpose(0, 1)


class TorchAttention:
    """Implements Attention."""

    def __init__(self, geometry: AttentionGeometry, rope: Tensor, kv: Tensor) -> None:
        self._geometry = geometry
        self._rope = _spread(rope.to(kv.device, kv.dtype))
        # of this step's tokens: [num_tokens, 1, head_dim (/ 2)]
        self._cos = self._sin_low = self._sin_high = self._rope
        self._pool = PoolViews(kv)
        self._slots: slice | Tensor = slice(0)
        self._plans: dict[int, Plan] = {}
        self._views: QkvViews | None = None

    def begin(self, step: AttentionStep) -> None:
        if self._views is not None and self._views.qkv.shape[0] != step.num_tokens:
            self._views = None  # they would hold its memory
        head_dim = self._geometry.head_dim
        rope = self._rope if step.rope is None else _spread(step.rope.to(self._rope.dtype))
        of_tokens = rope.index_select(0, step.positions).unsqueeze(1)
        self._cos, self._sin_low, self._sin_high = of_tokens.split((head_dim, head_dim // 2, head_dim // 2), -1)
        planner = Planner(self._pool, step)
        self._slots = planner.slots()
        self._plans = {window: planner.plan(window) for window in set(self._geometry.windows)}

    def rotate_and_write(self, layer: int, qkv: Tensor) -> Tensor:
        views = self._views
        if views is None or views.qkv is not qkv:
            views = self._views = QkvViews(qkv, self._geometry)
        torch.mul(views.high, self._sin_low, out=views.turned_low)
        torch.mul(views.low, self._sin_high, out=views.turned_high)
        torch.addcmul(views.turned, views.rotated, self._cos, out=views.rotated)
        pool = self._pool.slots_of_layer[layer]
        if isinstance(self._slots, slice):
            pool[:, self._slots].copy_(views.written)
        else:
            pool.index_copy_(1, self._slots, views.written)
        if layer == self._geometry.num_layers - 1 and qkv.shape[0] > MAX_KEPT_TOKENS:
            self._views = None
        return views.query

    def attend(self, layer: int, query: Tensor) -> Tensor:
        plan = self._plans[self._geometry.windows[layer]]
        if plan.gathered is not None:
            torch.index_select(self._pool.blocks_of_layer[layer], 0, plan.gathered, out=plan.scratch)
        if len(plan.segments) == 1:
            return self._run(plan.segments[0], layer, query)
        return torch.cat([self._run(segment, layer, query[segment.rows]) for segment in plan.segments])

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


def _spread(rope: Tensor) -> Tensor:
    """[rows, 2 * head_dim]: of i and i + head_dim / 2 the cosines, then what each takes of the other."""
    cosines, sines = rope.chunk(2, dim=-1)
    return torch.cat((cosines, cosines, -sines, sines), dim=-1)
