import math

import pytest
import torch

from penstock.core.types import SamplingParams
from penstock.engine.sampling.adjust import adjust
from penstock.engine.sampling.rows import SamplingRow

VOCAB = 40


def _plainly(logits: list[float], row: SamplingRow) -> list[float]:
    """One row, one token at a time."""
    params, values = row.params, list(logits)
    if row.position < params.min_tokens:
        for token in {*params.stop_token_ids, *(() if params.ignore_eos else row.eos_token_ids)}:
            values[token] = -math.inf
    for token, bias in params.logit_bias:
        values[token] += bias
    for token in {*row.prompt_token_ids, *row.output_token_ids}:
        penalty = params.repetition_penalty
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    for token in set(row.output_token_ids):
        count = list(row.output_token_ids).count(token)
        values[token] -= params.frequency_penalty * count + params.presence_penalty
    return values


ROWS = [
    SamplingRow(SamplingParams(), 3, [1, 2], [3]),
    SamplingRow(SamplingParams(repetition_penalty=1.5), 3, [1, 2, 2, 9], [3, 1, 39]),
    SamplingRow(SamplingParams(repetition_penalty=0.5), 0, [0, 39], []),
    SamplingRow(SamplingParams(presence_penalty=0.7), 4, [5, 6], [5, 5, 5, 7]),
    SamplingRow(SamplingParams(frequency_penalty=-0.7), 4, [5, 6], [5, 5, 5, 7]),
    SamplingRow(
        SamplingParams(repetition_penalty=1.2, frequency_penalty=0.3, presence_penalty=-0.1), 6, [8] * 5, [8, 4] * 3
    ),
    SamplingRow(SamplingParams(logit_bias=((0, 3.5), (39, -100.0))), 1, [0], [1]),
    SamplingRow(SamplingParams(min_tokens=2, stop_token_ids=(4, 5)), 1, [0], [1], (5, 6)),
    SamplingRow(SamplingParams(min_tokens=2, stop_token_ids=(4, 5), ignore_eos=True), 1, [0], [1], (6,)),
    SamplingRow(SamplingParams(min_tokens=2, stop_token_ids=(4, 5)), 2, [0], [1, 2], (5, 6)),
    SamplingRow(SamplingParams(min_tokens=9, logit_bias=((6, 50.0),), repetition_penalty=2.0), 1, [6], [7], (6,)),
]


@pytest.mark.parametrize("order", [range(len(ROWS)), range(len(ROWS))[::-1], [5], [10, 3]])
def test_changes_each_row_as_the_plain_formula_does(order: list[int]) -> None:
    rows = [ROWS[i] for i in order]
    logits = torch.randn(len(rows), VOCAB, generator=torch.Generator().manual_seed(1))
    expected = torch.tensor([_plainly(logits[i].tolist(), row) for i, row in enumerate(rows)])
    torch.testing.assert_close(adjust(logits, rows), expected)


def test_copies_nothing_when_nothing_changes() -> None:
    logits = torch.zeros(2, VOCAB)
    assert adjust(logits, [ROWS[0], ROWS[9]]) is logits


def test_ignores_token_ids_outside_the_vocabulary() -> None:
    """Tokenizers know ids that a model's head does not."""
    params = SamplingParams(min_tokens=5, stop_token_ids=(VOCAB,), logit_bias=((VOCAB + 3, 1.0),), presence_penalty=1.0)
    logits = torch.zeros(2, VOCAB)
    rows = [SamplingRow(params, 1, [], [VOCAB + 1]), SamplingRow(params, 1, [], [2])]
    changed = torch.nonzero(adjust(logits, rows)).tolist()
    assert changed == [[1, 2]]
