"""The streams of a decode worker: to gateways and from prefill workers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from penstock.core.types import WorkerRef
from penstock.decode.service import DecodeService
from penstock.transfer.link_service import LinkService
from penstock.wire.messages import DecodeCalls, Hello, LinkCalls, LinkEvents, LinkWelcome
from tests.unit.decode.decode_worker import PEER, DecodeWorker, decode_worker, request, reserve_for
from tests.unit.engine.mock_engine import STEP_S, expected_tokens
from tests.unit.virtual_time import in_virtual_time, pass_time, settle

Calls = TypeVar("Calls")
CONTEXT: Any = None
WELCOME = LinkWelcome(WorkerRef("decode-0", 22, "decode-0:1"), (), (), "r1")
FROM_GATEWAY = DecodeCalls(Hello("gateway", 7, 22))


def service_of(worker: DecodeWorker) -> DecodeService:
    return DecodeService(worker.decoder, worker.intake, WELCOME.worker.incarnation)


async def say(queue: "asyncio.Queue[Calls | None]", *calls: Calls) -> AsyncIterator[Calls]:
    for call in calls:
        yield call
    while (later := await queue.get()) is not None:
        yield later


@in_virtual_time
async def test_a_gateway_gets_its_steps_and_its_end_cancels_the_rest() -> None:
    async with decode_worker() as worker:
        end: asyncio.Queue[DecodeCalls | None] = asyncio.Queue()
        await worker.hand_over(request(40, 0), 1)
        await worker.hand_over(request(40, 1, max_tokens=1000), 2)
        asyncio.get_running_loop().call_later(20.5 * STEP_S, end.put_nowait, None)
        steps = [step async for step in service_of(worker).stream(say(end, FROM_GATEWAY), CONTEXT)]
        said = [t for step in steps for h, t in zip(step.handles, step.token_ids, strict=True) if h == 0]
        assert said == expected_tokens(range(40), 8)[1:]
        assert worker.decoder.num_sequences == 0
        await pass_time(STEP_S)


@in_virtual_time
async def test_a_cancellation_finds_its_request_wherever_it_stands() -> None:
    async with decode_worker() as worker:
        await worker.hand_over(request(40, 0, max_tokens=1000), 1)
        worker.reserve(request(40, 1), 2)
        await settle()
        worker.heard()
        end: asyncio.Queue[DecodeCalls | None] = asyncio.Queue()
        end.put_nowait(DecodeCalls(cancelled_handles=(0, 1, 2)))
        asyncio.get_running_loop().call_later(STEP_S, end.put_nowait, None)
        [_ async for _ in service_of(worker).stream(say(end, FROM_GATEWAY), CONTEXT)]
        assert worker.decoder.num_sequences == 0
        assert worker.heard() == [LinkEvents(revoked=[2])]
        worker.call(released=[2])
        worker.reserve(request(40, 2), 3)
        assert worker.heard()[0].refused
        await pass_time(STEP_S)


@in_virtual_time
async def test_a_newer_stream_of_a_gateway_takes_over_from_one_that_hangs() -> None:
    async with decode_worker() as worker:
        service = service_of(worker)
        hanging: asyncio.Queue[DecodeCalls | None] = asyncio.Queue()

        async def read(end: "asyncio.Queue[DecodeCalls | None]") -> list[int]:
            steps = service.stream(say(end, FROM_GATEWAY), CONTEXT)
            return [token_id async for step in steps for token_id in step.token_ids]

        older = asyncio.create_task(read(hanging))
        await settle()
        await worker.hand_over(request(40))
        await pass_time(3.5 * STEP_S)
        end: asyncio.Queue[DecodeCalls | None] = asyncio.Queue()
        newer = asyncio.create_task(read(end))
        await settle()
        assert older.done()
        await pass_time(10 * STEP_S)
        end.put_nowait(None)
        assert await older + await newer == expected_tokens(range(40), 8)[1:]


@in_virtual_time
async def test_a_prefill_worker_is_welcomed_and_its_end_withdraws_what_it_got() -> None:
    async with decode_worker() as worker:
        worker.receiver.connected.clear()
        end: asyncio.Queue[LinkCalls | None] = asyncio.Queue()
        end.put_nowait(LinkCalls(reserves=[reserve_for(request())]))
        asyncio.get_running_loop().call_later(1.0, end.put_nowait, None)
        hello = LinkCalls(Hello(*PEER, 22))
        service = LinkService(worker.intake, WELCOME.worker.incarnation)
        service.welcome = WELCOME
        events = [event async for event in service.link(say(end, hello), CONTEXT)]
        assert events[0].welcome == WELCOME
        assert [reserved.reservation_id for event in events for reserved in event.reserved] == [1]
        assert worker.num_referenced == 0
