from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from penstock.engine.models.linear import LARGE, Linear, PackedLinear, PlainLinear, TransposedLinear, make_linear


@pytest.mark.parametrize("make", [PlainLinear, TransposedLinear, PackedLinear])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 3, 40])
def test_every_layout_multiplies_alike(
    make: Callable[[Tensor, Tensor | None], Linear], has_bias: bool, num_tokens: int
) -> None:
    torch.manual_seed(0)
    weight, bias, x, residual = (torch.randn(shape) for shape in ((24, 10), (24,), (num_tokens, 10), (num_tokens, 24)))
    linear = make(weight, bias if has_bias else None)
    expected = functional.linear(x, weight, bias if has_bias else None)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(linear(x, residual), expected + residual, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "num_outputs", "expected"),
    [
        (torch.float32, 8, TransposedLinear),
        (torch.float32, LARGE // 16, PackedLinear),
        (torch.bfloat16, 8, PackedLinear),
    ],
)
def test_cpu_weights_are_laid_out_by_type_and_size(dtype: torch.dtype, num_outputs: int, expected: type) -> None:
    assert isinstance(make_linear(torch.zeros(num_outputs, 16, dtype=dtype)), expected)
