"""Matrix products with weights kept the way the device multiplies them fastest.

Measured on a Xeon with AMX (two cores, torch 2.13), products of 1 to 16 rows, beside F.linear on the checkpoint's own
layout: float32 transposed takes 0.4 to 1.0 of the time, or packed 0.45 to 0.7 where the output is a vocabulary wide;
bfloat16 packed takes 0.5 to 0.7, as F.linear packs anew on every call. Products of hundreds of rows take the same.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

WIDE = 8192  # outputs from which packed float32 beats transposed (measured)

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
    if torch.backends.mkldnn.is_available() and (weight.dtype != torch.float32 or weight.shape[0] >= WIDE):
        return PackedLinear(weight, bias)
    return TransposedLinear(weight, bias)
