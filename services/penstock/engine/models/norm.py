"""Root mean square normalisation over the last dimension."""

import torch
from torch import Tensor
from torch.nn import functional


class RmsNorm:
    """y = x / sqrt(mean(x^2) + epsilon) * weight, with float32 statistics.

    On a CPU torch composes its own from eight operations; these are half as many, and half as slow for few rows:
    sqrt(mean(x^2) + epsilon) = hypot(|x|, sqrt(n * epsilon)) / sqrt(n) for rows of length n.
    """

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        self._weight = weight  # [..., n]; leading dimensions are those of x
        self._epsilon = epsilon
        self._num_elements = weight.shape[-1]
        self._floor = torch.tensor((self._num_elements * epsilon) ** 0.5, device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [..., n] -> the same shape and type."""
        if x.is_cuda:
            return functional.rms_norm(x, (self._num_elements,), None, self._epsilon) * self._weight
        return x.div(self._root_mean_square(x)).to(x.dtype).mul_(self._weight)

    def in_place(self, x: Tensor) -> None:
        x.div_(self._root_mean_square(x)).mul_(self._weight)

    def _root_mean_square(self, x: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(x, 2, -1, True, dtype=torch.float32)
        return length.hypot_(self._floor).mul_(self._num_elements**-0.5)
