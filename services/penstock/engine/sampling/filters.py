"""Which tokens may be drawn: min-p, then top-k, then top-p of what is left.

Each filter is a floor under the weights. Tokens exactly as likely as the last one kept are kept too, so the outcome
does not depend on how a sort orders equals. Nothing is sorted: a nucleus is found by a radix search on the bits of the
weights, whose cost does not depend on how flat the distribution is (a sort of 150,000 tokens is ten times slower).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock.core.types import SamplingParams

_DIGIT_BITS = 10
_NUM_DIGITS = 1 << _DIGIT_BITS
_DIGIT_SHIFTS = (20, 10, 0)  # weights are at most 1.0, whose bits as a float32 are below 2 ** 30


def drop_unlikely(weights: Tensor, mass: Tensor, params: Sequence[SamplingParams]) -> None:
    """Set to zero, in place, the mass of what may not be drawn.

    weights: [n, vocab] float32, the largest of each row being 1; mass: [n, vocab] int64, the same as whole numbers.
    """
    truncated = [i for i, p in enumerate(params) if p.top_p < 1.0 or 0 < p.top_k < weights.shape[-1]]
    if not truncated and not any(p.min_p > 0.0 for p in params):
        return
    floors = torch.tensor([p.min_p for p in params], dtype=weights.dtype, device=weights.device)
    if truncated:
        rows = torch.tensor(truncated, device=weights.device)
        raised = _raise_floors(floors[rows], weights[rows], mass[rows], [params[i] for i in truncated])
        floors[rows] = raised
    mass.masked_fill_(weights < floors[:, None], 0)


def _raise_floors(floors: Tensor, weights: Tensor, mass: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """From the floors of min-p [n] to those that respect top-k and top-p as well. Consumes `mass`."""
    vocab = weights.shape[-1]
    largest_k = max(p.top_k for p in params)
    if largest_k > 0:
        # A row without top-k looks at the smallest weight found, which may be above its floor; hence `where`.
        top_k = torch.tensor([min(p.top_k, vocab) for p in params], device=weights.device)
        likely = torch.topk(weights, min(largest_k, vocab)).values
        kth = likely.gather(1, (top_k - 1).clamp(min=0)[:, None])[:, 0]
        floors = torch.where(top_k > 0, torch.maximum(floors, kth), floors)
    if any(p.top_p < 1.0 for p in params):
        top_p = torch.tensor([p.top_p for p in params], dtype=torch.float64, device=weights.device)
        mass.masked_fill_(weights < floors[:, None], 0)
        total = mass.sum(-1)
        target = torch.minimum((top_p * total).ceil().long(), total).clamp_(min=1)  # top_p 0 keeps the best
        floors = torch.maximum(floors, _floor_of_mass(weights, mass, target))
    return floors


def _floor_of_mass(weights: Tensor, mass: Tensor, target: Tensor) -> Tensor:
    """The largest float f of each row such that the tokens of weight >= f have at least the target mass -> [n].

    Non-negative floats order as their bits do, so f is found digit by digit, each from a histogram of mass.
    """
    keys = weights.view(torch.int32)
    floor = torch.zeros_like(target)
    for shift in _DIGIT_SHIFTS:
        digits = ((keys >> shift) & (_NUM_DIGITS - 1)).long()
        histogram = mass.new_zeros(len(mass), _NUM_DIGITS).scatter_add_(1, digits, mass)
        from_top = histogram.flip(1).cumsum(1)
        num_above = (from_top < target[:, None]).sum(-1, keepdim=True).clamp_(max=_NUM_DIGITS - 1)
        digit = _NUM_DIGITS - 1 - num_above
        target = target - (from_top.gather(1, num_above) - histogram.gather(1, digit))[:, 0]
        floor += digit[:, 0] << shift
        mass = mass.masked_fill_(digits != digit, 0)
    return floor.int().view(torch.float32)
