"""Matrix products with weights kept the way the device multiplies them fastest.

Measured on a Xeon with AMX (two cores, torch 2.13), weights out of cache, beside F.linear on the checkpoint's layout:

    rows of x                      1      8
    float32, transposed         0.9    1.1      but 0.4 while weights stay in cache
    float32, packed             1.2    0.8      but 0.5 where the output is a vocabulary wide
    bfloat16, packed            0.8    0.65     F.linear packs anew on every call

Products of hundreds of rows take the same time either way. A CPU without AVX-512 multiplies neither bfloat16 nor
float16: F.linear then loops over single numbers. Measured on an EPYC with AVX2, one core, beside F.linear:

    rows of x                      1      8    512
    bfloat16, widened          0.45   0.17   0.07
    float16, widened            0.5   0.19   0.08
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

LARGE = 1 << 21  # weights from which float32 is packed; below, single rows matter more

_onednn = torch.ops.mkldnn  # made for torch's own compiler; called directly, they need none


class Linear(Protocol):
    """y = x W^T + bias."""

    def __call__(self, x: Tensor) -> Tensor:
        """x: [num_tokens, in] -> [num_tokens, out]."""
        ...

    def into(self, x: Tensor, out: Tensor) -> None:
        """Write y to `out`: [num_tokens, out]."""
        ...

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + y, which may be residual itself, changed in place. residual: [num_tokens, out]."""
        ...


class PlainLinear:
    """The weight as the checkpoint has it: [out, in]."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight, self._bias)

    def into(self, x: Tensor, out: Tensor) -> None:
        if self._bias is None:
            torch.mm(x, self._weight.t(), out=out)
        else:
            torch.addmm(self._bias, x, self._weight.t(), out=out)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        return residual.add_(self(x))


class TransposedLinear:
    """The weight as [in, out], contiguous."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight.t().contiguous()
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.mm(x, self._weight) if self._bias is None else torch.addmm(self._bias, x, self._weight)

    def into(self, x: Tensor, out: Tensor) -> None:
        if self._bias is None:
            torch.mm(x, self._weight, out=out)
        else:
            torch.addmm(self._bias, x, self._weight, out=out)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        y = residual.addmm_(x, self._weight)
        return y if self._bias is None else y.add_(self._bias)


class PackedLinear:
    """The weight in oneDNN's blocked layout, packed once."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = _onednn._reorder_linear_weight(weight.contiguous())
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = _onednn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return y

    def into(self, x: Tensor, out: Tensor) -> None:
        out.copy_(self(x))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        y: Tensor = _onednn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return y


class WidenedLinear:
    """A 16-bit weight kept as float32, twice its size, for a CPU that multiplies nothing else.

    Sums are in float32 and rounded once, as by hardware that multiplies 16-bit numbers.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._dtype = weight.dtype
        self._wide = TransposedLinear(weight.float(), None if bias is None else bias.float())

    def __call__(self, x: Tensor) -> Tensor:
        return self._wide(x.float()).to(self._dtype)

    def into(self, x: Tensor, out: Tensor) -> None:
        out.copy_(self._wide(x.float()))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        return residual.copy_(self._wide.add_to(residual.float(), x.float()))


def cpu_can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies this type on this CPU. For 16 bits it takes AVX-512, or AVX-NE-CONVERT, and more."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(_onednn._is_mkldnn_bf16_supported())
    return dtype == torch.float32 or bool(_onednn._is_mkldnn_fp16_supported())


def cpu_layout(
    dtype: torch.dtype, num_weights: int, can_pack: Callable[[torch.dtype], bool] = cpu_can_pack
) -> Callable[[Tensor, Tensor | None], Linear]:
    """How a CPU keeps a weight of this type and size."""
    if dtype == torch.float32 and num_weights < LARGE:
        return TransposedLinear
    if can_pack(dtype):
        return PackedLinear
    return TransposedLinear if dtype == torch.float32 else WidenedLinear


def make_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """Pick by device, type and width. weight: [out, in], bias: [out]."""
    if weight.device.type != "cpu":
        return PlainLinear(weight, bias)
    return cpu_layout(weight.dtype, weight.numel())(weight, bias)
