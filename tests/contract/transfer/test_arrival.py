"""What arrives over each transport: every byte, in its place, whatever the shapes of the two pools."""

import asyncio
import random
from typing import Any

import pytest

from penstock.core.errors import TransferFailed


async def test_a_whole_sequence_arrives_bit_exact_and_completes_once(make_pair: Any) -> None:
    pair = await make_pair()
    source, destination = [3, 9, 10, 11, 2], [1, 2, 3, 30, 29]
    is_complete = pair.expect(destination, 0, 75)
    stats = await pair.push(source, destination, range(75))
    await is_complete.wait()
    pair.assert_arrived(source, destination, range(75))
    assert stats.num_bytes == 75 * pair.sources[0].token_bytes
    assert pair.num_completions == 1
    assert pair.receiver.num_open_reservations == 0
    assert pair.channel.transport == pair.transport
    assert pair.receiver.counters.of(pair.transport).num_bytes == stats.num_bytes
    assert pair.sender.counters.of(pair.transport).num_bytes == stats.num_bytes


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ({"block_size": 16}, {"block_size": 8}),
        ({"block_size": 8}, {"block_size": 16}),
        ({"block_size": 16}, {"block_size": 24}),
        ({"tp_size": 1}, {"tp_size": 2}),
        ({"tp_size": 2}, {"tp_size": 1}),
        ({"tp_size": 2}, {"tp_size": 4}),
        ({"tp_size": 4, "block_size": 32}, {"tp_size": 2, "block_size": 16}),
        ({"num_kv_heads": 6, "tp_size": 2}, {"num_kv_heads": 6, "tp_size": 3, "block_size": 8}),
        ({"num_blocks": 20}, {"num_blocks": 37}),
    ],
)
@pytest.mark.parametrize(("first", "num_tokens"), [(0, 96), (0, 61), (48, 45)])
async def test_pools_of_different_shape_correspond(
    make_pair: Any, source: dict[str, int], destination: dict[str, int], first: int, num_tokens: int
) -> None:
    pair = await make_pair(source, destination)
    tokens = range(first, first + num_tokens)
    shuffle = random.Random(3)
    sizes = pair.sources[0].block_size, pair.destinations[0].block_size
    from_blocks = shuffle.sample(range(pair.sources[0].num_blocks), -(-tokens.stop // sizes[0]))
    to_blocks = shuffle.sample(range(pair.destinations[0].num_blocks), -(-num_tokens // sizes[1]))
    is_complete = pair.expect(to_blocks, first, num_tokens)
    await pair.push(from_blocks, to_blocks, tokens, first)
    await is_complete.wait()
    pair.assert_arrived(from_blocks, to_blocks, tokens, first)


async def test_layer_groups_and_chunks_may_arrive_in_any_order(make_pair: Any) -> None:
    pair = await make_pair()
    blocks = list(range(10))
    is_complete = pair.expect(blocks, 0, 160)
    pushes = [(range(layer, layer + 2), tokens) for layer in (2, 0) for tokens in (range(37, 160), range(37))]
    for layers, tokens in pushes:
        assert not is_complete.is_set()
        await pair.push(blocks, blocks, tokens, layers=layers)
    await is_complete.wait()
    pair.assert_arrived(blocks, blocks, range(160))
    assert pair.num_completions == 1


@pytest.mark.parametrize("is_scattered", [False, True])
async def test_large_pushes_travel_as_many_segments(make_pair: Any, is_scattered: bool) -> None:
    pair = await make_pair(is_large=True)
    blocks = list(range(128))
    source = random.Random(5).sample(blocks, 128) if is_scattered else blocks
    is_complete = pair.expect(blocks, 0, 2048)
    stats = await pair.push(source, blocks, range(2048))
    await is_complete.wait()
    assert stats.num_segments == 32
    pair.assert_arrived(source, blocks, range(2048))


async def test_many_concurrent_pushes_keep_apart(make_pair: Any) -> None:
    pair = await make_pair(num_credits=3)
    order = random.Random(1).sample(range(40), 40)
    tables = [order[i : i + 2] for i in range(0, 40, 2)]
    completions = [pair.expect(table, 0, 32, number) for number, table in enumerate(tables)]
    pushes = [pair.push(table[::-1], table, range(32), reservation_id=number) for number, table in enumerate(tables)]
    await asyncio.gather(*pushes)
    await asyncio.gather(*(is_complete.wait() for is_complete in completions))
    pair.assert_arrived([b for table in tables for b in table[::-1]], order, range(640))


async def test_a_push_of_what_has_arrived_is_harmless(make_pair: Any) -> None:
    pair = await make_pair()
    is_complete = pair.expect([4, 5], 0, 32)
    for _ in range(2):
        await pair.push([1, 2], [4, 5], range(32), layers=range(2))
    assert not is_complete.is_set()
    for _ in range(2):
        await pair.push([1, 2], [4, 5], range(32), layers=range(2, 4))
    await is_complete.wait()
    assert pair.num_completions == 1
    pair.assert_arrived([1, 2], [4, 5], range(32))


async def test_two_channels_to_one_worker_are_independent(make_pair: Any) -> None:
    pair = await make_pair()
    first, second = pair.channel, await pair.connect()
    is_complete = pair.expect([4], 0, 16)
    await first.close()
    pair.channel = second
    await pair.push([1], [4], range(16))
    await is_complete.wait()
    assert pair.sender.channels == (second,)


async def test_layouts_that_do_not_fit_are_refused_at_connect(make_pair: Any) -> None:
    pair = await make_pair()
    pair.destinations = [type(pair.destinations[0])(4, 4, 16, 16, 40, 2, "bfloat16")]
    with pytest.raises(TransferFailed, match="num_kv_heads"):
        await pair.connect()
