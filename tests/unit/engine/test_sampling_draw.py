"""The drawn frequencies against distributions made the plain way: one row, float64, a sort."""

import math

import pytest
import torch
from torch import Tensor

from penstock.core.types import SamplingParams
from penstock.engine.sampling.draw import draw
from penstock.engine.sampling.filters import drop_unlikely
from penstock.engine.sampling.rows import SamplingRow

SETTINGS = [
    SamplingParams(),
    SamplingParams(temperature=0.3),
    SamplingParams(temperature=1.7),
    SamplingParams(top_k=1),
    SamplingParams(top_k=7),
    SamplingParams(top_k=10_000),
    SamplingParams(top_p=0.3),
    SamplingParams(top_p=0.95),
    SamplingParams(top_p=0.999999),
    SamplingParams(min_p=0.05),
    SamplingParams(min_p=1.0),
    SamplingParams(temperature=0.8, top_k=12, top_p=0.8),
    SamplingParams(temperature=1.5, top_k=30, top_p=0.9, min_p=0.02),
]


def _distribution(logits: Tensor, params: SamplingParams) -> Tensor:
    """[vocab] -> probabilities [vocab] float64; equals at a boundary are all kept."""
    p = torch.softmax(logits.double() / params.temperature, -1)
    p = torch.where(p >= params.min_p * p.max(), p, 0.0)
    if params.top_k > 0:
        kth = p.sort(descending=True).values[min(params.top_k, len(p)) - 1]
        p = torch.where(p >= kth, p, 0.0)
    p = p / p.sum()
    if params.top_p < 1.0:
        ordered = p.sort(descending=True).values
        num_short = int((ordered.cumsum(-1) < params.top_p).sum())
        p = torch.where(p >= ordered[min(num_short, len(p) - 1)], p, 0.0)
    return p / p.sum()


def _chi_square_excess(counts: Tensor, expected: Tensor) -> float:
    """How many standard deviations the statistic lies above its mean; cells under 5 expected are merged."""
    is_small = expected < 5
    cells = torch.cat((expected[~is_small], expected[is_small].sum()[None]))
    seen = torch.cat((counts[~is_small], counts[is_small].sum()[None]))
    cells, seen = cells[cells > 0], seen[cells > 0]
    freedom = max(1, len(cells) - 1)
    statistic = float(((seen - cells) ** 2 / cells).sum())
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_draws_as_often_as_the_distribution_says(params: SamplingParams) -> None:
    num_draws, vocab = 2000, 300  # the vocabulary does not divide into chunks
    logits = torch.randn(vocab, generator=torch.Generator().manual_seed(3)) * 2
    rows = [SamplingRow(params, position) for position in range(num_draws)]
    drawn = draw(logits.expand(num_draws, -1), rows)
    expected = _distribution(logits, params)
    counts = torch.bincount(drawn, minlength=vocab).double()
    assert counts[expected == 0].sum() == 0
    assert _chi_square_excess(counts, expected * num_draws) < 4.0


@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0, 20.0])
def test_keeps_the_same_tokens_as_a_sort_whatever_the_shape_of_the_distribution(spread: float) -> None:
    logits = torch.randn(len(SETTINGS), 5000, generator=torch.Generator().manual_seed(4)) * spread
    temperatures = torch.tensor([p.temperature for p in SETTINGS])[:, None]
    weights = ((logits - logits.amax(-1, keepdim=True)) / temperatures).exp()
    mass = (weights * 2.0**44).long()
    had_mass = mass > 0
    drop_unlikely(weights, mass, SETTINGS)
    for row, params in enumerate(SETTINGS):
        expected = (_distribution(logits[row], params) > 0) & had_mass[row]
        assert int(((mass[row] > 0) != expected).sum()) <= 1, params  # a nucleus may end one token apart by rounding


def test_keeps_all_equals_at_a_boundary() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0, 0.0]]).expand(4, -1)
    weights = (logits - 2.0).exp()
    mass = (weights * 2.0**44).long()
    limits = [{"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.3}, {"top_k": 5}]
    drop_unlikely(weights, mass, [SamplingParams(**limit) for limit in limits])  # type: ignore[arg-type]
    assert (mass > 0).sum(-1).tolist() == [4, 4, 4, 6]


def test_rows_without_filters_are_untouched_by_those_with() -> None:
    weights = torch.rand(3, 100, generator=torch.Generator().manual_seed(5))
    weights[:, 0] = 1.0
    mass = (weights * 2.0**44).long()
    before = mass.clone()
    drop_unlikely(weights, mass, [SamplingParams(), SamplingParams(top_k=3, top_p=0.5), SamplingParams()])
    assert torch.equal(mass[[0, 2]], before[[0, 2]])
    assert int((mass[1] > 0).sum()) < 4


def test_slabs_of_rows_do_not_show() -> None:
    """More elements than one slab holds on a CPU."""
    logits = torch.randn(16, 20_000, generator=torch.Generator().manual_seed(6))
    rows = [SamplingRow(SamplingParams(seed=i, top_p=0.9), i) for i in range(16)]
    drawn = draw(logits, rows).tolist()
    assert drawn == [int(draw(logits[i : i + 1], rows[i : i + 1])) for i in range(16)]
