"""The Prefill service's stream: its end, however it comes, ends what it started."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from penstock.prefill.service import PrefillService
from penstock.wire.messages import Hello, PrefillCalls, PrefillStart
from tests.unit.engine.mock_engine import STEP_S
from tests.unit.prefill.test_loop import ME, prefill_worker, request
from tests.unit.virtual_time import in_virtual_time, now_s, pass_time, settle

CONTEXT: Any = None
HELLO = Hello("gateway", 7, ME.incarnation)


async def calls_of(queue: "asyncio.Queue[PrefillCalls | None]") -> AsyncIterator[PrefillCalls]:
    while (call := await queue.get()) is not None:
        yield call


@in_virtual_time
async def test_starts_and_cancellations_in_and_news_out() -> None:
    async with prefill_worker() as worker:
        queue: asyncio.Queue[PrefillCalls | None] = asyncio.Queue()
        queue.put_nowait(PrefillCalls(HELLO, [PrefillStart(request(0), [worker.decode.ref])]))
        queue.put_nowait(PrefillCalls(starts=[PrefillStart(request(1), [worker.decode.ref])]))
        queue.put_nowait(PrefillCalls(cancelled_handles=[1]))
        service = PrefillService(worker.prefiller, now_s)
        asyncio.get_running_loop().call_later(20 * STEP_S, queue.put_nowait, None)
        events = [event async for event in service.serve(calls_of(queue), CONTEXT)]
        assert [handle for event in events for handle in event.accepted_handles] == [0, 1]
        assert [first.handle for event in events for first in event.first_tokens] == [0]
        assert [handed.handle for event in events for handed in event.handed_off] == [0]


@pytest.mark.parametrize("is_gateways_end", [True, False])
@in_virtual_time
async def test_the_end_of_the_stream_cancels_what_it_started(is_gateways_end: bool) -> None:
    async with prefill_worker() as worker:
        queue: asyncio.Queue[PrefillCalls | None] = asyncio.Queue()
        queue.put_nowait(PrefillCalls(HELLO, [PrefillStart(request(0), [worker.decode.ref])]))
        async with aclosing(PrefillService(worker.prefiller, now_s).serve(calls_of(queue), CONTEXT)) as events:  # type: ignore[type-var]
            await anext(events)
            queue.put_nowait(PrefillCalls(starts=[PrefillStart(request(1), [worker.decode.ref])]))
            if is_gateways_end:
                queue.put_nowait(None)
                await pass_time(STEP_S / 2)
        await settle()
        assert worker.prefiller.num_sequences == 0
        await pass_time(2 * STEP_S)
        assert worker.num_referenced == 0
