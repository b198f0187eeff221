from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from penstock.engine.models.config import MoeConfig, parse_config
from penstock.engine.models.linear import PlainLinear
from penstock.engine.models.mlp import DenseMlp, SparseMlp
from penstock.engine.models.workspace import Workspace

HIDDEN, INNER, NUM_EXPERTS = 8, 12, 5
CONFIG = parse_config(
    {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 16,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
)


@pytest.mark.parametrize("normalizes", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 7])
def test_a_mixture_equals_running_each_token_through_its_own_experts(normalizes: bool, num_tokens: int) -> None:
    torch.manual_seed(0)
    router = torch.randn(NUM_EXPERTS, HIDDEN)
    experts = [
        DenseMlp(PlainLinear(torch.randn(2 * INNER, HIDDEN)), PlainLinear(torch.randn(HIDDEN, INNER)))
        for _ in range(NUM_EXPERTS)
    ]
    x, residual = torch.randn(2, num_tokens, HIDDEN)
    expected = residual.clone()
    for token in range(num_tokens):
        weights, chosen = functional.linear(x[token], router).softmax(-1).topk(2)
        for weight, expert in zip(weights / (weights.sum() if normalizes else 1), chosen.tolist(), strict=True):
            expected[token] += weight * experts[expert](x[token : token + 1])[0]
    mixture = SparseMlp(PlainLinear(router), experts, num_per_token=2, normalizes=normalizes)
    workspace = Workspace(CONFIG, num_tokens, x)
    torch.testing.assert_close(mixture.add_to(residual, x, workspace), expected, atol=1e-4, rtol=1e-4)


def test_a_model_whose_layers_are_all_sparse_needs_no_room_for_dense_ones() -> None:
    like = torch.empty(0)
    for layers, width in ({0}, 0), (set[int](), 2 * INNER):
        moe = MoeConfig(NUM_EXPERTS, 2, INNER, True, frozenset(layers))
        workspace = Workspace(replace(CONFIG, moe=moe), 3, like)
        assert (workspace.gate_up.shape, workspace.up.shape) == ((3, width), (3, width // 2))


@pytest.mark.parametrize("num_tokens", [1, 7])
def test_a_dense_layer_is_the_same_with_and_without_a_workspace(num_tokens: int) -> None:
    torch.manual_seed(0)
    mlp = DenseMlp(PlainLinear(torch.randn(2 * INNER, HIDDEN)), PlainLinear(torch.randn(HIDDEN, INNER)))
    x, residual = torch.randn(2, num_tokens, HIDDEN)
    expected = residual + mlp(x)
    torch.testing.assert_close(mlp.add_to(residual, x, Workspace(CONFIG, num_tokens, x)), expected)
