"""Prompts packed into rows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.policies.prepacking import best_bucket, pack


@pytest.mark.parametrize(
    ("lengths", "buckets", "row_tokens", "rows", "num_padding"),
    [
        # rows: indices of the prompts in each
        ([], [], 0, [], 0),
        ([5], [], 5, [[0]], 0),
        ([2, 8, 6, 4], [], 8, [[1], [2, 0], [3]], 4),
        ([2, 8, 6, 4], [4, 10, 20], 10, [[1, 0], [2, 3]], 0),
        ([3, 3, 3], [], 3, [[0], [1], [2]], 0),
        ([1, 1, 1, 9], [], 9, [[3], [0, 1, 2]], 6),
    ],
)
def test_first_fit_decreasing(
    lengths: list[int], buckets: list[int], row_tokens: int, rows: list[list[int]], num_padding: int
) -> None:
    batch = pack(lengths, buckets)
    assert batch.row_tokens == row_tokens
    assert [[prompt.index for prompt in row] for row in batch.rows] == rows
    assert batch.num_padding_tokens == num_padding


def test_positions_restart_where_a_prompt_begins() -> None:
    batch = pack([2, 8, 6, 4], [10])
    assert [(prompt.index, prompt.start) for row in batch.rows for prompt in row] == [(1, 0), (0, 8), (2, 0), (3, 6)]


def test_the_best_bucket_has_the_fewest_tokens() -> None:
    assert best_bucket([6, 6, 4, 4], [6, 10, 16]).row_tokens == 10  # 2 * 10; 6 would take 4 * 6, 16 takes 2 * 16
    assert best_bucket([8, 8], [8, 16]).row_tokens == 8


@pytest.mark.parametrize("choose", [pack, best_bucket])
def test_a_prompt_longer_than_every_bucket_is_refused(choose: object) -> None:
    with pytest.raises(ValueError, match="fits no bucket"):
        choose([9], [4, 8])  # type: ignore[operator]


@given(st.lists(st.integers(1, 64), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_prompt_has_its_own_place_in_few_rows(lengths: list[int]) -> None:
    batch = pack(lengths, [64])
    assert sorted(prompt.index for row in batch.rows for prompt in row) == list(range(len(lengths)))
    for row in batch.rows:
        ends = [prompt.start + prompt.num_tokens for prompt in row]
        assert [prompt.start for prompt in row] == [0, *ends[:-1]]
        assert ends[-1] <= 64
    half_empty = [row for row in batch.rows if sum(prompt.num_tokens for prompt in row) <= 32]
    assert len(half_empty) <= 1  # so at most twice the optimum, and 11/9 of it by a longer proof
