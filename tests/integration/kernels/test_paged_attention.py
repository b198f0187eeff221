from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from penstock_kernels import reference
from penstock_kernels.paged import PagedContext, Visibility
from penstock_kernels.paged_decode import paged_decode, plan_decode
from penstock_kernels.ragged_prefill import plan_prefill, ragged_prefill


@dataclass(frozen=True)
class Shape:
    num_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int = 16
    window: int = 0
    dtype: torch.dtype = torch.float32

    @property
    def visibility(self) -> Visibility:
        return Visibility(self.head_dim**-0.5, self.window)


SHAPES = [
    Shape(4, 2, 16),
    Shape(2, 2, 64, window=5),
    Shape(4, 1, 128, block_size=32, dtype=torch.float16),
    Shape(7, 1, 16, window=16, dtype=torch.float16),
    Shape(3, 1, 80, window=100),
]


def _step(shape: Shape, lengths: list[int], contexts: list[int]) -> tuple[Tensor, PagedContext]:
    """Queries as a view of a projection's output, blocks scattered over the pool, what is no token's set to NaN."""
    generator = torch.Generator().manual_seed(sum(contexts))
    most = max(-(-context // shape.block_size) for context in contexts)
    num_blocks = len(contexts) * most + 2
    size = (2, num_blocks, shape.block_size, shape.num_kv_heads, shape.head_dim)
    kv = torch.full(size, float("nan"))
    tables = torch.randperm(num_blocks, generator=generator)[: len(contexts) * most].view(len(contexts), most)
    for table, context in zip(tables.tolist(), contexts, strict=True):
        for place in range(context):
            slot = (slice(None), table[place // shape.block_size], place % shape.block_size)
            kv[slot] = torch.randn(size[:1] + size[3:], generator=generator)
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    num_all_heads = shape.num_heads + 2 * shape.num_kv_heads
    qkv = torch.randn(sum(lengths), num_all_heads, shape.head_dim, generator=generator).to(shape.dtype)
    paged = PagedContext(kv.to(shape.dtype), tables.int(), torch.tensor(contexts, dtype=torch.int32), starts)
    return qkv[:, : shape.num_heads], paged


def _assert_close(output: Tensor, expected: Tensor) -> None:
    tolerance = 2e-3 if output.dtype == torch.float16 else 2e-6
    torch.testing.assert_close(output, expected, atol=tolerance, rtol=tolerance)


def _decode(shape: Shape, contexts: list[int], num_sms: int) -> int:
    query, paged = _step(shape, [1] * len(contexts), contexts)
    plan = plan_decode(contexts, paged.kv, shape.num_heads, shape.visibility, num_sms)
    output = torch.full((len(contexts), shape.num_heads * shape.head_dim), float("nan"), dtype=shape.dtype)
    plan.partial.fill_(float("nan"))
    paged_decode(query, paged, plan, output)
    _assert_close(output, reference.paged_attention(query, paged, shape.visibility))
    return int(plan.num_splits)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decodes_mixed_contexts_as_the_reference_does(shape: Shape) -> None:
    block = shape.block_size
    assert _decode(shape, [1, block - 1, block, block + 1, 70], num_sms=1) == 1


@pytest.mark.parametrize("shape", [Shape(4, 2, 16), Shape(4, 1, 16, window=700)], ids=str)
def test_splits_long_contexts_and_leaves_short_ones_whole(shape: Shape) -> None:
    assert _decode(shape, [1030, 3, 513, 256], num_sms=64) > 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("lengths", "contexts"),
    [
        pytest.param([1, 2, 17, 33], [1, 2, 17, 33], id="whole prompts"),
        pytest.param([5, 16, 1], [37, 48, 130], id="after a cached prefix or an earlier chunk"),
    ],
)
def test_prefills_ragged_runs_as_the_reference_does(shape: Shape, lengths: list[int], contexts: list[int]) -> None:
    query, paged = _step(shape, lengths, contexts)
    plan = plan_prefill(lengths, contexts, 0, paged.kv, shape.num_heads)
    output = torch.full((sum(lengths), shape.num_heads * shape.head_dim), float("nan"), dtype=shape.dtype)
    ragged_prefill(query, paged, plan, shape.visibility, output)
    _assert_close(output, reference.paged_attention(query, paged, shape.visibility))


def test_a_run_of_several_tiles_crosses_from_full_to_masked_keys() -> None:
    shape = Shape(16, 1, 16)
    query, paged = _step(shape, [30], [300])
    plan = plan_prefill([30], [300], 0, paged.kv, shape.num_heads)
    output = torch.empty(30, shape.num_heads * shape.head_dim)
    ragged_prefill(query, paged, plan, shape.visibility, output)
    assert plan.tiles.shape[1] > 1
    _assert_close(output, reference.paged_attention(query, paged, shape.visibility))


def test_leaves_the_rows_of_decodes_alone() -> None:
    shape = Shape(4, 2, 16)
    lengths, contexts = [1, 1, 6], [9, 20, 22]
    query, paged = _step(shape, lengths, contexts)
    plan = plan_prefill(lengths, contexts, 2, paged.kv, shape.num_heads)
    output = torch.full((8, 64), 7.0)
    ragged_prefill(query, paged, plan, shape.visibility, output)
    assert (output[:2] == 7.0).all()
    _assert_close(output[2:], reference.paged_attention(query, paged, shape.visibility)[2:])
