"""The compiled kernels against the reference, in the shapes of real models."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from penstock_kernels import reference
from penstock_kernels.paged import PagedContext, Visibility
from penstock_kernels.paged_decode import paged_decode, plan_decode
from penstock_kernels.ragged_prefill import plan_prefill, ragged_prefill
from penstock_kernels.rope_write import rotate_and_write

pytestmark = pytest.mark.gpu


@dataclass(frozen=True)
class Model:
    num_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int = 16
    window: int = 0
    dtype: torch.dtype = torch.bfloat16

    @property
    def visibility(self) -> Visibility:
        return Visibility(self.head_dim**-0.5, self.window)


MODELS = [
    Model(32, 8, 128),
    Model(32, 32, 128, block_size=32),
    Model(28, 4, 128, dtype=torch.float16),
    Model(14, 2, 64, window=1000),
    Model(32, 8, 80, window=100),
    Model(16, 8, 256),
    Model(32, 8, 128, dtype=torch.float32),
    Model(4, 2, 16, dtype=torch.float32),
]


def _step(model: Model, lengths: list[int], contexts: list[int]) -> tuple[Tensor, PagedContext]:
    """Queries as a view of a projection's output, and blocks scattered over the pool."""
    torch.manual_seed(sum(contexts))
    most = max(-(-context // model.block_size) for context in contexts)
    num_blocks = len(contexts) * most + 2
    tables = torch.randperm(num_blocks, device="cuda")[: len(contexts) * most].view(len(contexts), most).int()
    size = (2, num_blocks, model.block_size, model.num_kv_heads, model.head_dim)
    kv = torch.randn(size, device="cuda", dtype=model.dtype)
    starts = torch.tensor([0, *lengths], device="cuda").cumsum(0).int()
    lengths_on_device = torch.tensor(contexts, device="cuda", dtype=torch.int32)
    num_all_heads = model.num_heads + 2 * model.num_kv_heads
    qkv = torch.randn(sum(lengths), num_all_heads, model.head_dim, device="cuda", dtype=model.dtype)
    return qkv[:, : model.num_heads], PagedContext(kv, tables, lengths_on_device, starts)


def _assert_close(output: Tensor, expected: Tensor) -> None:
    tolerance = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3, torch.float32: 2e-5}[output.dtype]
    torch.testing.assert_close(output, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("contexts", [[1, 15, 16, 17, 4000], [20_000], [300] * 200], ids=["mixed", "long", "many"])
def test_decodes_as_the_reference_does(model: Model, contexts: list[int]) -> None:
    query, paged = _step(model, [1] * len(contexts), contexts)
    plan = plan_decode(contexts, paged.kv, model.num_heads, model.visibility, num_sms=132)
    plan.partial.fill_(float("nan"))
    output = torch.full((len(contexts), model.num_heads * model.head_dim), float("nan")).to(query)
    paged_decode(query, paged, plan, output)
    _assert_close(output, reference.paged_attention(query, paged, model.visibility))


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize(
    ("lengths", "contexts"),
    [([1, 2, 127, 1000], [1, 2, 127, 1000]), ([512, 3], [2560, 777])],
    ids=["whole prompts", "chunks"],
)
def test_prefills_as_the_reference_does(model: Model, lengths: list[int], contexts: list[int]) -> None:
    query, paged = _step(model, lengths, contexts)
    plan = plan_prefill(lengths, contexts, 0, paged.kv, model.num_heads)
    output = torch.full((sum(lengths), model.num_heads * model.head_dim), float("nan")).to(query)
    ragged_prefill(query, paged, plan, model.visibility, output)
    _assert_close(output, reference.paged_attention(query, paged, model.visibility))


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_rotates_and_writes_as_the_reference_does(model: Model) -> None:
    num_tokens = 333
    _, paged = _step(model, [1], [num_tokens])
    num_all_heads = model.num_heads + 2 * model.num_kv_heads
    qkv = torch.randn(num_tokens, num_all_heads, model.head_dim, device="cuda", dtype=model.dtype)
    rope = torch.randn(1000, model.head_dim, device="cuda")
    positions = torch.randint(0, 1000, (num_tokens,), device="cuda")
    slots = torch.randperm(paged.kv.shape[1] * model.block_size, device="cuda")[:num_tokens]
    expected_kv, kv = paged.kv.clone(), paged.kv
    expected = reference.rotate_and_write(qkv, rope, positions, slots, expected_kv)
    _assert_close(rotate_and_write(qkv, rope, positions, slots, kv), expected)
    _assert_close(kv, expected_kv)
