import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from penstock.core.types import SamplingParams
from penstock.engine.sampler import SamplingRow, sample

GREEDY = SamplingParams(temperature=0.0)
VOCAB = 600


def _logits(num_rows: int, vocab: int = VOCAB, seed: int = 0, spread: float = 2.0) -> Tensor:
    return torch.randn(num_rows, vocab, generator=torch.Generator().manual_seed(seed)) * spread


def _ids(logits: Tensor, rows: list[SamplingRow]) -> list[int]:
    return [token.token_id for token in sample(logits, rows)]


MIXED = [
    GREEDY,
    SamplingParams(seed=1),
    SamplingParams(seed=2, temperature=0.7, top_p=0.9),
    SamplingParams(seed=3, top_k=20),
    SamplingParams(seed=4, top_k=50, top_p=0.5, min_p=0.01, temperature=1.3),
    SamplingParams(seed=5, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2),
    SamplingParams(seed=6, logit_bias=((3, 5.0), (9, -100.0)), min_tokens=100, num_logprobs=3),
    SamplingParams(seed=2**64 - 1, min_p=0.2),
    replace(GREEDY, frequency_penalty=1.5, num_logprobs=0),
]


def _mixed_rows(position: int) -> list[SamplingRow]:
    return [SamplingRow(params, position, range(7), [3, 3, 9, position % VOCAB], [2]) for params in MIXED]


def test_takes_the_most_likely_token_of_every_greedy_row() -> None:
    logits = _logits(5)
    assert _ids(logits, [SamplingRow(GREEDY, 0)] * 5) == logits.argmax(-1).tolist()


def test_takes_the_first_of_equally_likely_tokens_when_greedy() -> None:
    logits = torch.zeros(2, 50)
    logits[:, [7, 31]] = 1.0
    with_logprobs = replace(GREEDY, num_logprobs=1)
    assert _ids(logits, [SamplingRow(GREEDY, 0), SamplingRow(with_logprobs, 0)]) == [7, 7]


def test_answers_an_empty_batch_with_nothing() -> None:
    assert sample(torch.empty(0, 50), []) == []


def test_leaves_the_logits_as_they_were() -> None:
    logits = _logits(len(MIXED))
    before = logits.clone()
    sample(logits, _mixed_rows(4))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("position", [0, 1, 17, 4000])
def test_draws_the_same_token_alone_and_in_any_batch(position: int) -> None:
    logits, rows = _logits(len(MIXED), seed=position), _mixed_rows(position)
    together = sample(logits, rows)
    alone = [sample(logits[i : i + 1], rows[i : i + 1])[0] for i in range(len(rows))]
    order = [4, 0, 8, 2, 6, 1, 3, 7, 5]
    shuffled = sample(logits[order], [rows[i] for i in order])
    assert [token.token_id for token in together] == [token.token_id for token in alone]
    assert [together[i].token_id for i in order] == [token.token_id for token in shuffled]


def test_draws_by_seed_and_position_alone() -> None:
    logits = _logits(1).expand(40, -1)
    by_position = _ids(logits, [SamplingRow(SamplingParams(seed=9), i) for i in range(40)])
    by_seed = _ids(logits, [SamplingRow(SamplingParams(seed=i), 9) for i in range(40)])
    again = _ids(logits, [SamplingRow(SamplingParams(seed=9), i) for i in range(40)])
    assert by_position == again
    assert by_position[9] == by_seed[9]
    assert len(set(by_position)) > 10
    assert len(set(by_seed)) > 10


def test_draws_rarely_change_when_logits_change_in_their_last_bits() -> None:
    """Another batch shape moves fp32 logits by 1e-6; over flat distributions few draws may follow ten times as much."""
    logits = _logits(128, vocab=8192, spread=1.0)
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)) * 1e-5
    rows = [SamplingRow(SamplingParams(seed=5), i) for i in range(128)]
    changed = sum(a != b for a, b in zip(_ids(logits, rows), _ids(logits + noise, rows), strict=True))
    assert changed <= 1


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1e-30),
        SamplingParams(temperature=1e-5),
        SamplingParams(top_k=1),
        SamplingParams(min_p=1.0),
        SamplingParams(top_p=1e-9),
        SamplingParams(top_p=0.0),
    ],
)
def test_narrowest_settings_leave_only_the_most_likely_token(params: SamplingParams) -> None:
    logits = _logits(8)
    rows = [SamplingRow(replace(params, seed=i), i) for i in range(8)]
    assert _ids(logits, rows) == logits.argmax(-1).tolist()


@pytest.mark.parametrize(
    "params", [SamplingParams(top_k=10**6), SamplingParams(top_k=VOCAB), SamplingParams(top_p=1.0)]
)
def test_widest_settings_change_nothing(params: SamplingParams) -> None:
    logits = _logits(1).expand(64, -1)
    plain = [SamplingRow(SamplingParams(seed=3), i) for i in range(64)]
    wide = [SamplingRow(replace(params, seed=3), i) for i in range(64)]
    assert _ids(logits, wide) == _ids(logits, plain)


def test_never_draws_a_token_that_is_masked() -> None:
    logits = torch.full((200, 300), -math.inf)
    logits[:, [5, 299]] = torch.tensor([0.0, 1.0])
    rows = [SamplingRow(SamplingParams(seed=i, top_p=0.999 if i % 2 else 1.0), 0) for i in range(200)]
    assert set(_ids(logits, rows)) == {5, 299}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_stays_in_the_vocabulary_when_a_row_of_logits_is_broken(value: float) -> None:
    logits = _logits(2)
    logits[0] = value
    sound = SamplingRow(SamplingParams(seed=1, top_p=0.9, top_k=5), 0)
    broken, unharmed = _ids(logits, [sound, sound])
    assert 0 <= broken < VOCAB
    assert unharmed == _ids(logits[1:], [sound])[0]


def test_masks_what_would_end_a_sequence_until_min_tokens() -> None:
    logits = torch.zeros(1, 10)
    logits[0, [1, 2, 3]] = torch.tensor([30.0, 20.0, 10.0])

    def token_at(position: int) -> int:
        params = replace(GREEDY, min_tokens=4, stop_token_ids=(2, 1, 2**20))
        return _ids(logits, [SamplingRow(params, position, eos_token_ids=(1, 77))])[0]

    assert [token_at(position) for position in (0, 3, 4, 9)] == [3, 3, 1, 1]


def test_draws_eos_before_min_tokens_when_eos_is_ignored() -> None:
    logits = torch.zeros(1, 10)
    logits[0, 1] = 5.0
    row = SamplingRow(replace(GREEDY, min_tokens=4, ignore_eos=True), 0, eos_token_ids=(1,))
    assert _ids(logits, [row]) == [1]


def test_logprobs_are_those_of_the_raw_logits() -> None:
    logits = _logits(3)
    params = SamplingParams(temperature=0.2, seed=1, logit_bias=((4, 100.0),), num_logprobs=2)
    tokens = sample(
        logits, [SamplingRow(params, 0), SamplingRow(GREEDY, 0), SamplingRow(replace(params, num_logprobs=0), 0)]
    )
    expected = torch.log_softmax(logits.double(), -1)
    top = expected[0].topk(2)
    assert tokens[0].token_id == 4
    assert tokens[0].logprobs is not None
    assert tokens[0].logprobs.logprob == pytest.approx(float(expected[0, 4]), abs=1e-5)
    assert tokens[0].logprobs.top_token_ids == tuple(top.indices.tolist())
    assert tokens[0].logprobs.top_logprobs == pytest.approx(top.values.tolist(), abs=1e-5)
    assert tokens[1].logprobs is None
    assert tokens[2].logprobs is not None
    assert tokens[2].logprobs.top_token_ids == ()


def test_asks_for_more_logprobs_than_there_are_tokens() -> None:
    (token,) = sample(_logits(1, vocab=5), [SamplingRow(replace(GREEDY, num_logprobs=20), 0)])
    assert token.logprobs is not None
    assert len(token.logprobs.top_token_ids) == 5
    assert math.fsum(map(math.exp, token.logprobs.top_logprobs)) == pytest.approx(1.0, abs=1e-5)


def test_a_penalised_token_is_drawn_less_often() -> None:
    logits = torch.zeros(4000, 4)
    history = [0, 0, 1]
    params = SamplingParams(seed=11, frequency_penalty=1.0)
    counts = Counter(_ids(logits, [SamplingRow(params, i, (), history) for i in range(4000)]))
    assert counts[0] < counts[1] < min(counts[2], counts[3])
