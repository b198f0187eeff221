"""Matrix products with weights kept the way the device multiplies them fastest."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

_onednn = torch.ops.mkldnn  # made for torch's own compiler; called directly, they need none


class Linear(Protocol):
    """y = x W^T + bias, and + residual where one is given."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x: [num_tokens, in]; residual: [num_tokens, out] -> [num_tokens, out]."""
        ...


class PlainLinear:
    """The weight as the checkpoint has it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight  # [out, in]
        self._bias = bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = functional.linear(x, self._weight, self._bias)
        return y if residual is None else y.add_(residual)


class PackedLinear:
    """The weight in oneDNN's blocked layout, packed once.

    Measured on a Xeon with AMX, two cores: bfloat16 products of 1 to 32 rows take half the time of F.linear, which
    packs anew on every call; float32 products of 8 rows take 0.4 to 1.0 of it; large ones take the same. A row's result
    also hardly depends on how many rows there are beside it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = _onednn._reorder_linear_weight(weight.contiguous())
        self._bias = bias

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if residual is None:
            return _onednn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return _onednn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")


def make_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """Pick by device: weight [out, in], bias [out]."""
    if weight.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return PackedLinear(weight, bias)
    return PlainLinear(weight, bias)
