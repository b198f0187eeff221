from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from penstock.engine.models.linear import (
    LARGE,
    Linear,
    PackedLinear,
    PlainLinear,
    TransposedLinear,
    WidenedLinear,
    cpu_layout,
    make_linear,
)


@pytest.mark.parametrize("make", [PlainLinear, TransposedLinear, PackedLinear, WidenedLinear])
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
        out = torch.full_like(expected, torch.nan)
        linear.into(x, out)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(linear.add_to(residual.clone(), x), expected + residual, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_tokens", [1, 8])
def test_widened_weights_round_once(dtype: torch.dtype, num_tokens: int) -> None:
    torch.manual_seed(0)
    weight, bias, x, residual = (
        torch.randn(shape).to(dtype) for shape in ((24, 10), (24,), (num_tokens, 10), (num_tokens, 24))
    )
    exact = functional.linear(x.double(), weight.double(), bias.double())
    with torch.inference_mode():
        linear = WidenedLinear(weight, bias)
        torch.testing.assert_close(linear(x), exact.to(dtype))
        torch.testing.assert_close(linear.add_to(residual.clone(), x), (exact + residual).to(dtype))


@pytest.mark.parametrize(
    ("dtype", "num_weights", "with_packing", "without_packing"),
    [
        (torch.float32, LARGE - 1, TransposedLinear, TransposedLinear),
        (torch.float32, LARGE, PackedLinear, TransposedLinear),
        (torch.bfloat16, 8, PackedLinear, WidenedLinear),
        (torch.float16, 8, PackedLinear, WidenedLinear),
    ],
)
def test_cpu_weights_are_laid_out_by_type_and_size_and_by_what_the_cpu_multiplies(
    dtype: torch.dtype, num_weights: int, with_packing: type, without_packing: type
) -> None:
    assert cpu_layout(dtype, num_weights, lambda _: True) is with_packing
    assert cpu_layout(dtype, num_weights, lambda _: False) is without_packing


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_outputs", [8, LARGE // 16])
def test_this_cpu_multiplies_whatever_layout_it_gets(dtype: torch.dtype, num_outputs: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(num_outputs, 16).to(dtype), torch.randn(2, 16).to(dtype)
    with torch.inference_mode():
        torch.testing.assert_close(make_linear(weight)(x), (x.double() @ weight.double().t()).to(dtype))
