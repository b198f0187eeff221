"""Matrix products with weights kept the way the device multiplies them fastest.

Measured on a Xeon with AMX (two cores, torch 2.13), weights out of cache, beside F.linear on the checkpoint's layout:

    rows of x                      1      8
    float32, transposed         0.9    1.1      but 0.4 while weights stay in cache
    float32, packed             1.2    0.8      but 0.5 where the output is a vocabulary wide
    bfloat16, packed            0.8    0.65     F.linear packs anew on every call

Products of hundreds of rows take the same time either way.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

LARGE = 1 << 21  # weights from which float32 is packed; below, single rows matter more

_onednn = torch.ops.mkldnn  # made for torch's own compiler; called directly, they need none


class Linear(Protocol):
    """y = x W^T + bias, and + residual where one is given."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x: [num_tokens, in]; residual: [num_tokens, out] -> [num_tokens, out]."""
        ...


class PlainLinear:
    """The weight as the checkpoint has it: [out, in]."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = functional.linear(x, self._weight, self._bias)
        return y if residual is None else y.add_(residual)


class TransposedLinear:
    """The weight as [in, out], contiguous."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight.t().contiguous()
        self._bias = bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if residual is None:
            return torch.mm(x, self._weight) if self._bias is None else torch.addmm(self._bias, x, self._weight)
        y = torch.addmm(residual, x, self._weight)
        return y if self._bias is None else y.add_(self._bias)


class PackedLinear:
    """The weight in oneDNN's blocked layout, packed once."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = _onednn._reorder_linear_weight(weight.contiguous())
        self._bias = bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y: Tensor
        if residual is None:
            y = _onednn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        else:
            y = _onednn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return y


def make_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """Pick by device, type and width. weight: [out, in], bias: [out]."""
    if weight.device.type != "cpu":
        return PlainLinear(weight, bias)
    if torch.backends.mkldnn.is_available() and (weight.dtype != torch.float32 or weight.numel() >= LARGE):
        return PackedLinear(weight, bias)
    return TransposedLinear(weight, bias)
