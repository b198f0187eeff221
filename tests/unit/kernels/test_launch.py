import pytest

from penstock_kernels.launch import (
    MAX_NUM_SPLITS,
    choose_split_tokens,
    count_splits,
    decode_tile,
    list_tiles,
    next_power_of_2,
    prefill_tile,
)

H200_SMS = 132
HOPPER_SHARED_BYTES = 227 * 1024


@pytest.mark.parametrize(
    ("contexts", "num_kv_heads", "expected"),
    [
        ([300], 8, 320),  # not worth splitting
        ([8192], 8, 256),  # alone: 32 splits of each head, 256 programs for 264 slots
        ([32768], 8, 1024),
        ([131072], 8, 4032),
        ([1_000_000], 1, 15_680),  # no more splits than the reduction holds
        ([4096] * 32, 8, 4096),  # a wave of whole sequences
        ([4096] * 64, 8, 2048),  # more than a wave: units of a quarter of an SM's share
        ([128] * 256, 8, 128),
    ],
)
def test_cuts_decode_work_into_units_that_fill_the_device(
    contexts: list[int], num_kv_heads: int, expected: int
) -> None:
    assert choose_split_tokens(contexts, num_kv_heads, H200_SMS, tile_tokens=64) == expected


def test_one_long_context_among_short_ones_is_spread_over_many_programs() -> None:
    contexts = [200] * 63 + [100_000]
    split_tokens = choose_split_tokens(contexts, 8, H200_SMS, tile_tokens=64)
    num_units = sum(-(-context // split_tokens) for context in contexts) * 8
    longest_share = split_tokens / (sum(contexts) * 8 / (2 * H200_SMS))
    assert longest_share < 0.6
    assert num_units > 4 * H200_SMS


@pytest.mark.parametrize("num_sms", [1, 4, 132])
@pytest.mark.parametrize("num_kv_heads", [1, 8, 40])
@pytest.mark.parametrize("contexts", [[1], [63, 64, 65], [4097] * 7, [1, 500_000]])
def test_splits_are_whole_tiles_and_few_enough(contexts: list[int], num_kv_heads: int, num_sms: int) -> None:
    split_tokens = choose_split_tokens(contexts, num_kv_heads, num_sms, tile_tokens=64)
    num_splits = count_splits(contexts, split_tokens)
    assert split_tokens % 64 == 0
    assert 1 <= num_splits <= MAX_NUM_SPLITS
    assert (num_splits - 1) * split_tokens < max(contexts) <= num_splits * split_tokens


@pytest.mark.parametrize("group_size", [1, 2, 3, 4, 7, 8, 16, 32, 71])
@pytest.mark.parametrize("head_dim", [16, 64, 80, 96, 128, 192, 256])
@pytest.mark.parametrize("element_bytes", [2, 4])
def test_tiles_fit_a_group_and_the_shared_memory(group_size: int, head_dim: int, element_bytes: int) -> None:
    row_bytes = next_power_of_2(head_dim) * element_bytes
    for tile in (decode_tile(group_size, head_dim, element_bytes), prefill_tile(group_size, head_dim, element_bytes)):
        assert all(size & (size - 1) == 0 for size in (tile.num_rows, tile.num_tokens, tile.num_warps))
        assert tile.num_rows >= max(16, group_size)
        assert tile.num_tokens >= 16
        assert (tile.num_rows + 2 * 2 * tile.num_tokens) * row_bytes <= HOPPER_SHARED_BYTES  # two tiles of K and V


def test_lists_the_tiles_with_most_keys_first() -> None:
    tiles = list_tiles(query_lengths=[1, 5, 3], context_lengths=[50, 5, 103], first_sequence=1, tile_queries=2)
    assert tiles == [(2, 2), (2, 0), (1, 4), (1, 2), (1, 0)]
