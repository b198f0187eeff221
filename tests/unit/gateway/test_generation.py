"""Generation: what the dispatcher delivers is what its reader takes."""

import asyncio

import pytest

from penstock.core.errors import RequestCancelled, WorkerLost
from penstock.core.types import FinishReason, SampledToken
from penstock.gateway.generation import Generation


def tokens(*token_ids: int) -> list[SampledToken]:
    return [SampledToken(token_id) for token_id in token_ids]


async def test_takes_everything_new_at_once_and_ends_with_nothing() -> None:
    generation = Generation("r")
    for position in range(3):
        assert generation.deliver(position, SampledToken(position))
    assert await generation.next_tokens() == tokens(0, 1, 2)
    assert generation.deliver(3, SampledToken(3))
    generation.finish(FinishReason.STOP)
    assert not generation.is_done
    assert await generation.next_tokens() == tokens(3)
    assert generation.is_done
    assert await generation.next_tokens() == []
    assert await generation.next_tokens() == []


@pytest.mark.parametrize("position", [0, 2, 7])
async def test_only_the_next_position_is_delivered(position: int) -> None:
    generation = Generation("r")
    generation.deliver(0, SampledToken(5))
    assert not generation.deliver(position, SampledToken(6))
    assert generation.output_token_ids == [5]


async def test_a_waiting_reader_wakes_for_a_token_an_end_or_an_error() -> None:
    generation = Generation("r")
    reader = asyncio.create_task(generation.next_tokens())
    await asyncio.sleep(0)
    generation.deliver(0, SampledToken(1))
    generation.deliver(1, SampledToken(2))  # before the reader ran
    assert await reader == tokens(1, 2)
    reader = asyncio.create_task(generation.next_tokens())
    await asyncio.sleep(0)
    generation.finish(FinishReason.LENGTH)
    assert await reader == []


async def test_an_error_comes_after_the_tokens_before_it() -> None:
    generation = Generation("r")
    generation.deliver(0, SampledToken(1))
    generation.fail(WorkerLost("gone"))
    assert not generation.deliver(1, SampledToken(2))
    assert await generation.next_tokens() == tokens(1)
    for _ in range(2):
        with pytest.raises(WorkerLost):
            await generation.next_tokens()


async def test_cancel_tells_the_dispatcher_once_and_nothing_after_the_end() -> None:
    calls: list[str] = []
    generation = Generation("r", lambda: calls.append("cancel"))
    generation.deliver(0, SampledToken(1))
    generation.cancel()
    generation.cancel()
    generation.finish(FinishReason.STOP)
    assert calls == ["cancel"]
    assert generation.finish_reason is None
    with pytest.raises(RequestCancelled):
        await generation.next_tokens()
    finished = Generation("r", lambda: calls.append("too late"))
    finished.finish(FinishReason.STOP)
    finished.cancel()
    assert calls == ["cancel"]


async def test_a_reader_that_is_cancelled_loses_no_token() -> None:
    generation = Generation("r")
    reader = asyncio.create_task(generation.next_tokens())
    await asyncio.sleep(0)
    reader.cancel()
    generation.deliver(0, SampledToken(1))
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await generation.next_tokens() == tokens(1)
