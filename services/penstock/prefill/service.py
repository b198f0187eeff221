"""The Prefill service: one stream per gateway that starts requests and hears of their first tokens."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc

from penstock.prefill.loop import Prefiller
from penstock.prefill.spans import PrefillSpans
from penstock.runtime.outbox import Outbox
from penstock.runtime.sessions import converse, read_hello
from penstock.runtime.tracing import OFF, Tracer
from penstock.wire.messages import PrefillCalls, PrefillEvents


class PrefillService:
    """Handler of the stream; the work is the Prefiller's."""

    def __init__(self, prefiller: Prefiller, now_s: Callable[[], float], tracer: Tracer = OFF) -> None:
        self._prefiller = prefiller
        self._now_s = now_s
        self._tracer = tracer

    async def serve(
        self, calls: AsyncIterator[PrefillCalls], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[PrefillEvents]:
        """Starts and cancellations up; verdicts, first tokens and hand-overs down. Its end cancels what it started."""
        hello, first = await read_hello(calls, self._prefiller.me.incarnation, context)
        outbox: Outbox[PrefillEvents] = Outbox()
        spans = PrefillSpans(self._tracer, self._now_s)

        def on_call(call: PrefillCalls) -> None:
            for start in call.starts:
                self._prefiller.start(spans.begin(start, self._prefiller.me), outbox)
            for handle in call.cancelled_handles:
                self._prefiller.cancel((hello.caller_id, handle))
            spans.cancel(call.cancelled_handles)

        try:
            on_call(first)
            async with aclosing(converse(calls, on_call, outbox)) as news:
                async for events in news:
                    spans.hear(events)
                    yield events
        finally:
            spans.close()
            self._prefiller.cancel_gateway(hello.caller_id, outbox)
