"""Attention in Triton kernels: what GPUs run. Decodes go to the split kernel, all other runs to the ragged one."""

import torch
from torch import Tensor

from penstock.engine.attention.protocol import AttentionGeometry, AttentionStep
from penstock_kernels.paged import PagedContext, Visibility
from penstock_kernels.paged_decode import DecodePlan, paged_decode, plan_decode
from penstock_kernels.ragged_prefill import PrefillPlan, plan_prefill, ragged_prefill
from penstock_kernels.rope_write import rotate_and_write

_SPLIT_CONTEXT_TOKENS = 2048  # a sequence this long, alone, is always split
_CPU_NUM_SMS = 4  # under Triton's interpreter: few enough programs to be quick, enough for contexts to be split


class TritonAttention:
    """Implements Attention. On a GPU, construction compiles every kernel the model needs: no request waits for one."""

    def __init__(self, geometry: AttentionGeometry, rope: Tensor, kv: Tensor) -> None:
        self._geometry = geometry
        self._rope = self._step_rope = rope.to(kv.device, torch.float32).contiguous()
        self._kv = kv
        self._num_sms = _num_sms(kv.device)
        self._visibilities = {window: Visibility(geometry.scale, window) for window in geometry.windows}
        self._decode_plans: dict[int, DecodePlan] = {}  # by window
        self._prefill_plan: PrefillPlan | None = None
        self._step: AttentionStep | None = None
        if kv.is_cuda:
            self.compile_kernels()

    def begin(self, step: AttentionStep) -> None:
        num_heads, num_decodes = self._geometry.num_heads, step.num_decodes
        self._step, self._decode_plans, self._prefill_plan = step, {}, None
        self._step_rope = self._rope if step.rope is None else step.rope
        if num_decodes > 0:
            contexts = step.context_lengths[:num_decodes]
            self._decode_plans = {
                window: plan_decode(contexts, self._kv, num_heads, visibility, self._num_sms)
                for window, visibility in self._visibilities.items()
            }
        if num_decodes < step.num_sequences:
            self._prefill_plan = plan_prefill(
                step.query_lengths, step.context_lengths, num_decodes, self._kv, num_heads
            )

    def rotate_and_write(self, layer: int, qkv: Tensor) -> Tensor:
        step = self._current()
        return rotate_and_write(qkv, self._step_rope, step.positions, step.slots, self._kv[layer])

    def attend(self, layer: int, query: Tensor) -> Tensor:
        step = self._current()
        window = self._geometry.windows[layer]
        output = query.new_empty(query.shape[0], query.shape[1] * query.shape[2])
        paged = PagedContext(self._kv[layer], step.block_tables, step.contexts, step.query_starts)
        if step.num_decodes > 0:
            paged_decode(query[: step.num_decodes], paged, self._decode_plans[window], output)
        if self._prefill_plan is not None:
            ragged_prefill(query, paged, self._prefill_plan, self._visibilities[window], output)
        return output

    def _current(self) -> AttentionStep:
        assert self._step is not None, "begin comes first"
        return self._step

    def compile_kernels(self) -> None:
        """Run each kernel once for each window, on block 0 of a pool that nobody uses yet."""
        geometry, block_size = self._geometry, self._kv.shape[3]
        layer_of = {window: layer for layer, window in enumerate(geometry.windows)}
        for context, length in ((1, 1), (_SPLIT_CONTEXT_TOKENS, 1), (2, 2)):  # decode whole and split, prefill
            self.begin(self._dummy_step(context, length, -(-context // block_size)))
            qkv = self._kv.new_zeros(length, geometry.num_heads + 2 * geometry.num_kv_heads, geometry.head_dim)
            for layer in layer_of.values():
                self.attend(layer, self.rotate_and_write(layer, qkv))
        self._step = None

    def _dummy_step(self, context: int, length: int, num_blocks: int) -> AttentionStep:
        device = self._kv.device
        return AttentionStep(
            num_decodes=int(length == 1),
            query_lengths=(length,),
            context_lengths=(context,),
            query_starts=torch.tensor([0, length], dtype=torch.int32, device=device),
            contexts=torch.tensor([context], dtype=torch.int32, device=device),
            block_tables=torch.zeros(1, num_blocks, dtype=torch.int32, device=device),
            positions=torch.zeros(length, dtype=torch.int64, device=device),
            slots=torch.arange(length, device=device),
        )


def _num_sms(device: torch.device) -> int:
    """Streaming multiprocessors to fill."""
    if device.type != "cuda":
        return _CPU_NUM_SMS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
