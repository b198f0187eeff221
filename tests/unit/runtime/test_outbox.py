"""What a stream still has to say."""

import asyncio

from penstock.runtime.outbox import Outbox
from tests.unit.virtual_time import in_virtual_time, settle


async def read_all(outbox: Outbox[int]) -> list[list[int]]:
    return [items async for items in outbox.batches()]


@in_virtual_time
async def test_what_gathered_goes_out_together() -> None:
    outbox: Outbox[int] = Outbox()
    reader = asyncio.create_task(read_all(outbox))
    await settle()
    for item in range(3):
        assert outbox.put(item)
    await settle()
    outbox.put(3)
    await settle()
    outbox.close()
    assert await reader == [[0, 1, 2], [3]]


@in_virtual_time
async def test_what_is_queued_still_goes_out_after_the_end() -> None:
    outbox: Outbox[int] = Outbox()
    outbox.put(1)
    outbox.close()
    assert not outbox.put(2)
    assert await read_all(outbox) == [[1]]


@in_virtual_time
async def test_closing_an_empty_one_ends_its_reader() -> None:
    outbox: Outbox[int] = Outbox()
    reader = asyncio.create_task(read_all(outbox))
    await settle()
    outbox.close()
    outbox.close()
    assert await reader == []


@in_virtual_time
async def test_items_put_while_a_batch_is_written_are_not_lost_by_the_end() -> None:
    outbox: Outbox[int] = Outbox()
    outbox.put(1)
    batches = aiter(outbox.batches())
    assert await anext(batches) == [1]
    outbox.put(2)
    outbox.close()
    assert await anext(batches) == [2]
    assert await anext(batches, None) is None


@in_virtual_time
async def test_a_reader_that_stopped_reading_is_given_up() -> None:
    outbox: Outbox[int] = Outbox(max_items=3)
    assert [outbox.put(item) for item in range(5)] == [True, True, True, False, False]
    assert await read_all(outbox) == [[0, 1, 2]]
