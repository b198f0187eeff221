"""Against attention written out plainly, one sequence at a time."""

import random
import weakref
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from penstock.engine.attention.protocol import MAX_KEPT_TOKENS, AttentionGeometry, AttentionStep
from penstock.engine.attention.torch_attention import TorchAttention
from penstock.engine.attention.torch_plan import MAX_ROWS

BLOCK_SIZE, NUM_BLOCKS, HEAD_DIM, NUM_HEADS, NUM_KV_HEADS = 4, 400, 8, 4, 2
WINDOW = 5
GEOMETRY = AttentionGeometry(NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, 0.3, windows=(0, WINDOW))
MAX_POSITIONS = 2000


@dataclass
class Case:
    """Per sequence, how many tokens are in the pool already and how many are run."""

    prefixes: list[int]
    queries: list[int]
    is_scattered: bool

    def step(self) -> AttentionStep:
        contexts = [p + q for p, q in zip(self.prefixes, self.queries, strict=True)]
        blocks = list(range(NUM_BLOCKS))
        if self.is_scattered:
            random.Random(1).shuffle(blocks)
        width = max(-(-context // BLOCK_SIZE) for context in contexts)
        tables = torch.zeros(len(contexts), width, dtype=torch.int32)
        positions: list[int] = []
        slots: list[int] = []
        for row, (prefix, context) in enumerate(zip(self.prefixes, contexts, strict=True)):
            table = [blocks.pop(0) for _ in range(-(-context // BLOCK_SIZE))]
            tables[row, : len(table)] = torch.tensor(table)
            positions += range(prefix, context)
            slots += [table[p // BLOCK_SIZE] * BLOCK_SIZE + p % BLOCK_SIZE for p in range(prefix, context)]
        return AttentionStep(
            num_decodes=sum(1 for q in self.queries if q == 1),
            query_lengths=tuple(self.queries),
            context_lengths=tuple(contexts),
            query_starts=torch.tensor([0, *torch.tensor(self.queries).cumsum(0).tolist()], dtype=torch.int32),
            contexts=torch.tensor(contexts, dtype=torch.int32),
            block_tables=tables,
            positions=torch.tensor(positions),
            slots=torch.tensor(slots),
        )


CASES = {
    "one whole prompt": ([0], [11]),
    "one decode": ([9], [1]),
    "a chunk after a prefix": ([6], [7]),
    "a chunk longer than one call takes rows": ([3], [MAX_ROWS + 9]),
    "decodes of like length": ([7, 8, 9, 6, 7], [1] * 5),
    "decodes of unlike length": ([60, 1, 2, 3], [1] * 4),
    "decodes at block boundaries": ([3, 4, 5, 7, 8], [1] * 5),
    "the first token of a sequence": ([0], [1]),
    "decodes, a chunk and whole prompts": ([5, 12, 8, 0, 0], [1, 1, 6, 9, 4]),
}


@pytest.mark.parametrize("is_scattered", [False, True])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layer", [0, 1])
def test_every_kind_of_step_equals_plain_attention(name: str, is_scattered: bool, layer: int) -> None:
    torch.manual_seed(0)
    case = Case(*CASES[name], is_scattered)
    step = case.step()
    kv = torch.randn(2, 2, NUM_BLOCKS, BLOCK_SIZE, NUM_KV_HEADS, HEAD_DIM)
    angles = torch.outer(torch.arange(MAX_POSITIONS).float(), torch.tensor([1.0, 0.3, 0.1, 0.03]))
    rope = torch.cat((angles.cos(), angles.sin()), dim=-1)
    qkv = torch.randn(step.num_tokens, NUM_HEADS + 2 * NUM_KV_HEADS, HEAD_DIM)
    expected_kv = kv.clone()
    expected = _plain(qkv, rope, expected_kv[layer], step, WINDOW if layer else 0)
    attention = TorchAttention(GEOMETRY, rope, kv)
    attention.begin(step)
    query = attention.rotate_and_write(layer, qkv.clone())
    output = attention.attend(layer, query)
    torch.testing.assert_close(kv, expected_kv)
    torch.testing.assert_close(output, expected)
    assert output.is_contiguous()


def test_a_large_step_leaves_its_tensors_when_it_ends() -> None:
    step = Case([0], [MAX_KEPT_TOKENS + 1], is_scattered=False).step()
    kv = torch.zeros(2, 2, NUM_BLOCKS, BLOCK_SIZE, NUM_KV_HEADS, HEAD_DIM)
    attention = TorchAttention(GEOMETRY, torch.ones(MAX_POSITIONS, HEAD_DIM), kv)
    qkv = torch.ones(step.num_tokens, NUM_HEADS + 2 * NUM_KV_HEADS, HEAD_DIM)
    seen = weakref.ref(qkv)
    attention.begin(step)
    for layer in range(GEOMETRY.num_layers):
        attention.attend(layer, attention.rotate_and_write(layer, qkv))
    del qkv
    assert seen() is None


def test_a_step_may_bring_a_rope_table_of_its_own() -> None:
    torch.manual_seed(0)
    step = Case(*CASES["decodes, a chunk and whole prompts"], is_scattered=True).step()
    kv, rope = torch.randn(2, 2, NUM_BLOCKS, BLOCK_SIZE, NUM_KV_HEADS, HEAD_DIM), torch.randn(MAX_POSITIONS, HEAD_DIM)
    qkv = torch.randn(step.num_tokens, NUM_HEADS + 2 * NUM_KV_HEADS, HEAD_DIM)
    expected = _plain(qkv, rope, kv[0].clone(), step, 0)
    attention = TorchAttention(GEOMETRY, torch.zeros_like(rope), kv)
    attention.begin(replace(step, rope=rope[step.positions], positions=torch.arange(step.num_tokens)))
    torch.testing.assert_close(attention.attend(0, attention.rotate_and_write(0, qkv)), expected)


def _plain(qkv: Tensor, rope: Tensor, pool: Tensor, step: AttentionStep, window: int) -> Tensor:
    cos, sin = rope[step.positions].unsqueeze(1).chunk(2, dim=-1)
    low, high = qkv[:, : NUM_HEADS + NUM_KV_HEADS].chunk(2, dim=-1)
    rotated = torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)
    by_slot = pool.view(2, -1, NUM_KV_HEADS, HEAD_DIM)
    by_slot[0, step.slots] = rotated[:, NUM_HEADS:]
    by_slot[1, step.slots] = qkv[:, NUM_HEADS + NUM_KV_HEADS :]
    outputs = []
    for row, table in enumerate(step.block_tables):
        slots = (table.unsqueeze(1) * BLOCK_SIZE + torch.arange(BLOCK_SIZE)).flatten()
        begin, end = step.query_starts[row : row + 2].tolist()
        context = int(step.contexts[row])
        keys, values = by_slot[:, slots[:context]].repeat_interleave(NUM_HEADS // NUM_KV_HEADS, dim=2)
        distance = step.positions[begin:end, None] - torch.arange(context)  # of each query to each key
        is_seen = (distance >= 0) & (distance < (window or context))
        logits = torch.einsum("qhd,shd->hqs", rotated[begin:end, :NUM_HEADS], keys) * 0.3
        weights = logits.masked_fill(~is_seen, float("-inf")).softmax(-1)
        outputs.append(torch.einsum("hqs,shd->qhd", weights, values).flatten(1))
    return torch.cat(outputs)
