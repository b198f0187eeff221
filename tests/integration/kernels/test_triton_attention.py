"""The whole backend against the torch one: mixed steps, layers with and without a window, one pool each."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from penstock.engine.attention.protocol import AttentionGeometry, AttentionStep
from penstock.engine.attention.torch_attention import TorchAttention
from penstock.engine.attention.triton_attention import TritonAttention
from penstock_kernels.paged import Visibility
from penstock_kernels.paged_decode import DecodePlan, plan_decode

GEOMETRY = AttentionGeometry(num_heads=4, num_kv_heads=2, head_dim=16, scale=0.25, windows=(0, 8))
BLOCK_SIZE = 16


def _step(lengths: list[int], contexts: list[int]) -> AttentionStep:
    most = max(-(-context // BLOCK_SIZE) for context in contexts)
    tables = torch.arange(len(contexts) * most).flip(0).view(len(contexts), most)
    places = [range(context - length, context) for length, context in zip(lengths, contexts, strict=True)]
    slots = [
        int(tables[i, place // BLOCK_SIZE]) * BLOCK_SIZE + place % BLOCK_SIZE
        for i, run in enumerate(places)
        for place in run
    ]
    return AttentionStep(
        num_decodes=lengths.count(1),
        query_lengths=tuple(lengths),
        context_lengths=tuple(contexts),
        query_starts=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
        contexts=torch.tensor(contexts, dtype=torch.int32),
        block_tables=tables.int(),
        positions=torch.tensor([place for run in places for place in run]),
        slots=torch.tensor(slots),
    )


@pytest.mark.parametrize(
    ("lengths", "contexts"),
    [([1, 1], [5, 33]), ([7, 3], [7, 20]), ([1, 1, 4, 9], [16, 17, 30, 9])],
    ids=["decodes", "prefills", "mixed"],
)
def test_agrees_with_the_torch_backend_in_every_layer(lengths: list[int], contexts: list[int]) -> None:
    generator = torch.Generator().manual_seed(2)
    rope = torch.randn(64, 16, generator=generator)
    pool = torch.randn(2, 2, 12, BLOCK_SIZE, 2, 16, generator=generator)
    ours, theirs = pool.clone(), pool.clone()
    triton = TritonAttention(GEOMETRY, rope, ours)
    plain = TorchAttention(GEOMETRY, rope, theirs)
    step = _step(lengths, contexts)
    triton.begin(step)
    plain.begin(step)
    for layer in range(GEOMETRY.num_layers):
        qkv = torch.randn(sum(lengths), 8, 16, generator=generator)
        query, expected_query = (backend.rotate_and_write(layer, qkv.clone()) for backend in (triton, plain))
        torch.testing.assert_close(query, expected_query)
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(
            triton.attend(layer, query), plain.attend(layer, expected_query), atol=2e-6, rtol=2e-5
        )


def test_a_step_may_bring_a_rope_table_of_its_own() -> None:
    generator = torch.Generator().manual_seed(2)
    rope = torch.randn(64, 16, generator=generator)
    pool = torch.zeros(2, 2, 12, BLOCK_SIZE, 2, 16)
    step, qkv = _step([1, 4], [17, 30]), torch.randn(5, 8, 16, generator=generator)
    other = replace(step, rope=rope[step.positions], positions=torch.arange(5))
    expected_pool = pool.clone()
    queries = []
    for table, kv, of_step in ((rope, expected_pool, step), (torch.zeros_like(rope), pool, other)):
        backend = TritonAttention(GEOMETRY, table, kv)
        backend.begin(of_step)
        queries.append(backend.rotate_and_write(0, qkv.clone()))
    torch.testing.assert_close(queries[1], queries[0])
    torch.testing.assert_close(pool, expected_pool)
    assert pool.any()


def test_compiling_the_kernels_runs_each_of_them_and_leaves_all_blocks_but_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = torch.full((2, 2, 3, BLOCK_SIZE, 2, 16), 3.0)
    num_splits: list[int] = []

    def record(contexts: Sequence[int], kv: Tensor, num_heads: int, visibility: Visibility, num_sms: int) -> DecodePlan:
        plan = plan_decode(contexts, kv, num_heads, visibility, num_sms)
        num_splits.append(plan.num_splits)
        return plan

    monkeypatch.setattr("penstock.engine.attention.triton_attention.plan_decode", record)
    TritonAttention(GEOMETRY, torch.zeros(64, 16), pool).compile_kernels()
    assert min(num_splits) == 1 < max(num_splits)
    assert (pool[:, :, 1:] == 3.0).all()
