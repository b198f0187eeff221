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
        self._epsilon = epsilon
        self._num_elements = weight.shape[-1]
        # [..., n]; leading dimensions are those of x. On a CPU, float32 and with the sqrt(n) in it
        self._weight = weight if weight.is_cuda else weight.float() * self._num_elements**0.5
        self._floor = torch.tensor((self._num_elements * epsilon) ** 0.5, device=weight.device)

    def __call__(self, x: Tensor) -> Tensor:
        """x: [..., n] -> the same shape and type."""
        out = torch.empty_like(x)
        self.into(x, out)
        return out

    def into(self, x: Tensor, out: Tensor) -> None:
        """Write y to `out`, which may be x itself."""
        if x.is_cuda:
            normalised = functional.rms_norm(x, (self._num_elements,), None, self._epsilon)
        else:
            length = torch.linalg.vector_norm(x, 2, -1, True, dtype=torch.float32)
            normalised = x.div(length.hypot_(self._floor))
        torch.mul(normalised, self._weight, out=out)
