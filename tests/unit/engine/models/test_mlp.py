import pytest
import torch
from torch.nn import functional

from penstock.engine.models.linear import PlainLinear
from penstock.engine.models.mlp import DenseMlp, SparseMlp

HIDDEN, INNER, NUM_EXPERTS = 8, 12, 5


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
    torch.testing.assert_close(mixture(x, residual), expected, atol=1e-4, rtol=1e-4)
