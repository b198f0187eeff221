"""The Encoder service's stream, and the spans made of what it says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.core.errors import IncarnationMismatch
from penstock.encoder.service import EncoderService
from penstock.encoder.spans import EncodeSpans
from penstock.runtime.tracing import FinishedSpan, Tracer
from penstock.wire.encode_messages import EncodeCalls, EncodeEvents, ImageDelivered
from penstock.wire.messages import Hello, StageSpan
from tests.unit.aborting import Aborted, AbortingContext
from tests.unit.encoder.fake_images import ENCODE_S, ME, make_start
from tests.unit.encoder.test_loop import encode_worker
from tests.unit.trace_context import TRACEPARENT
from tests.unit.virtual_time import in_virtual_time, now_s, settle

CONTEXT: Any = None
HELLO = Hello("gateway", 7, ME.incarnation)


async def calls_of(queue: "asyncio.Queue[EncodeCalls | None]") -> AsyncIterator[EncodeCalls]:
    while (call := await queue.get()) is not None:
        yield call


@in_virtual_time
async def test_starts_and_cancellations_in_and_deliveries_out() -> None:
    async with encode_worker() as worker:
        spans: list[FinishedSpan] = []
        queue: asyncio.Queue[EncodeCalls | None] = asyncio.Queue()
        queue.put_nowait(EncodeCalls(HELLO, [make_start("a", 1, traceparent=TRACEPARENT)]))
        queue.put_nowait(EncodeCalls(starts=[make_start("b", 2, traceparent=TRACEPARENT)]))
        queue.put_nowait(EncodeCalls(cancelled_handles=[2]))
        service = EncoderService(worker.encoder, ME.incarnation, now_s, Tracer(spans.append))
        asyncio.get_running_loop().call_later(2.5 * ENCODE_S, queue.put_nowait, None)
        events = [event async for event in service.serve(calls_of(queue), CONTEXT)]
        assert [delivered.handle for event in events for delivered in event.delivered] == [1]
        outcomes = [span.attributes["penstock.outcome"] for span in spans if span.name == "serve encode"]
        assert outcomes == ["cancelled", "encoded"]
        [stage] = [span for span in spans if span.name == "encode"]
        assert stage.ended_s - stage.began_s == pytest.approx(ENCODE_S)


@in_virtual_time
async def test_the_end_of_the_stream_cancels_what_it_started() -> None:
    async with encode_worker() as worker:
        queue: asyncio.Queue[EncodeCalls | None] = asyncio.Queue()
        queue.put_nowait(EncodeCalls(HELLO, [make_start("a", 1)]))
        queue.put_nowait(None)
        async for _ in EncoderService(worker.encoder, ME.incarnation, now_s).serve(calls_of(queue), CONTEXT):
            pass
        await settle()
        assert worker.encoder.num_errands == 0


@in_virtual_time
async def test_another_life_is_refused() -> None:
    async with encode_worker() as worker:
        queue: asyncio.Queue[EncodeCalls | None] = asyncio.Queue()
        queue.put_nowait(EncodeCalls(Hello("gateway", 7, ME.incarnation + 1), [make_start()]))
        context: Any = AbortingContext()
        with pytest.raises(Aborted) as caught:
            await anext(aiter(EncoderService(worker.encoder, ME.incarnation, now_s).serve(calls_of(queue), context)))
        assert IncarnationMismatch.code in str(caught.value)


def test_what_is_not_traced_leaves_no_span() -> None:
    recorded: list[FinishedSpan] = []
    spans = EncodeSpans(Tracer(recorded.append), lambda: 1.0)
    spans.begin(make_start())
    spans.hear(EncodeEvents(delivered=[ImageDelivered(0, 0, spans=[StageSpan("encode", 1.0, 0.0)])]))
    spans.close()
    assert recorded == []
