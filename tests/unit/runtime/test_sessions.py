"""The server's side of a stream: the greeting, and the end from either side."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from penstock.runtime.outbox import Outbox
from penstock.runtime.sessions import converse, read_hello
from penstock.wire.messages import DecodeCalls, Hello, StepOutputs
from tests.unit.aborting import Aborted, AbortingContext
from tests.unit.virtual_time import in_virtual_time, pass_time, settle

ME = 22


async def stream(*calls: DecodeCalls, then: asyncio.Future[None] | None = None) -> AsyncIterator[DecodeCalls]:
    for call in calls:
        yield call
    if then:
        await then


async def greet(*calls: DecodeCalls) -> tuple[Hello, DecodeCalls]:
    context: Any = AbortingContext()
    return await read_hello(stream(*calls), ME, context)


@pytest.mark.parametrize("meant", [0, ME])
async def test_a_caller_introduces_itself(meant: int) -> None:
    first = DecodeCalls(Hello("gateway", 7, meant), (5,))
    assert await greet(first) == (first.hello, first)


@pytest.mark.parametrize(
    ("calls", "code"),
    [
        ([], "invalid_request"),
        ([DecodeCalls(cancelled_handles=(5,))], "invalid_request"),
        ([DecodeCalls(Hello("gateway", 7, ME + 1))], "incarnation_mismatch"),
    ],
)
async def test_others_are_turned_away(calls: list[DecodeCalls], code: str) -> None:
    with pytest.raises(Aborted, match=code):
        await greet(*calls)


@in_virtual_time
async def test_both_sides_are_heard_and_the_end_of_the_calls_ends_it() -> None:
    end = asyncio.get_running_loop().create_future()
    outbox: Outbox[StepOutputs] = Outbox()
    heard: list[DecodeCalls] = []

    async def talk() -> list[tuple[int, object]]:
        calls = stream(DecodeCalls(cancelled_handles=(1,)), DecodeCalls(cancelled_handles=(2,)), then=end)
        return [(message.step, message.handles) async for message in converse(calls, heard.append, outbox)]

    talking = asyncio.create_task(talk())
    outbox.put(StepOutputs(1, handles=[1]))
    outbox.put(StepOutputs(2, handles=[2]))
    await settle()
    assert [call.cancelled_handles for call in heard] == [(1,), (2,)]
    outbox.put(StepOutputs(3))
    end.set_result(None)
    assert await talking == [(2, [1, 2]), (3, ())]


@in_virtual_time
async def test_our_end_ends_it_though_the_caller_stays() -> None:
    """A replaced stream, or one whose reader was given up, must not hang on a caller that says nothing more."""
    never = asyncio.get_running_loop().create_future()
    outbox: Outbox[StepOutputs] = Outbox()
    outbox.put(StepOutputs(1))
    outbox.close()
    async with asyncio.timeout(1.0):
        said = [message async for message in converse(stream(then=never), lambda _: None, outbox)]
    assert said == [StepOutputs(1)]


@in_virtual_time
async def test_a_call_that_cannot_be_handled_ends_it_with_the_reason() -> None:
    outbox: Outbox[StepOutputs] = Outbox()
    never = asyncio.get_running_loop().create_future()

    def fail(_: DecodeCalls) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async for _ in converse(stream(DecodeCalls(), then=never), fail, outbox):
            pass
    assert not outbox.put(StepOutputs(1))


@in_virtual_time
async def test_after_it_is_closed_no_call_is_heard() -> None:
    outbox: Outbox[StepOutputs] = Outbox()
    heard: list[DecodeCalls] = []
    gate = asyncio.Event()

    async def calls() -> AsyncIterator[DecodeCalls]:
        await gate.wait()
        yield DecodeCalls()

    outbox.put(StepOutputs(1))
    async with aclosing(converse(calls(), heard.append, outbox)) as messages:
        async for _ in messages:
            break
    gate.set()
    await pass_time(1.0)
    assert heard == []


@in_virtual_time
async def test_a_failure_on_both_sides_leaves_none_unseen() -> None:
    outbox: Outbox[StepOutputs] = Outbox()
    gate = asyncio.Event()

    async def calls() -> AsyncIterator[DecodeCalls]:
        await gate.wait()
        raise ZeroDivisionError
        yield DecodeCalls()

    outbox.put(StepOutputs(1))
    messages = converse(calls(), lambda _: None, outbox)
    await anext(messages)
    gate.set()
    await settle()  # the caller's side has failed by now
    await messages.aclose()
