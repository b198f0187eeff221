"""What of a request's trace the gateway makes between arrival and tokens."""

from dataclasses import replace

import pytest

from penstock.core.timeline import Stage
from penstock.core.types import Role
from penstock.gateway.dispatcher import RoutedDispatcher
from penstock.runtime.tracing import FinishedSpan, SpanKind, Tracer
from tests.unit.gateway.dispatcher.fake_cluster import FakeCluster
from tests.unit.gateway.dispatcher.requests import make_request, read
from tests.unit.trace_context import TRACEPARENT


def test_route_and_attempt_are_children_of_the_request_and_parents_of_what_happens_elsewhere(pair: FakeCluster) -> None:
    spans: list[FinishedSpan] = []
    pair.tracer = Tracer(spans.append)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        await read(dispatcher.generate(replace(make_request(), traceparent=TRACEPARENT)))

    pair.run(scenario)
    route, attempt = spans
    assert [(span.name, span.kind) for span in spans] == [("route", SpanKind.CLIENT), ("attempt", SpanKind.CLIENT)]
    assert {span.context.parent_id for span in spans} == {"b7ad6b7169203331"}
    assert pair.queries[0].traceparent == route.context.traceparent
    assert pair.workers["prefill-0"].offers[0].request.traceparent == attempt.context.traceparent
    assert attempt.attributes["penstock.decode_worker"] == "decode-0"
    assert attempt.attributes["penstock.outcome"] == "finished"


def test_every_attempt_has_its_own_span_and_a_lost_one_says_so(pair: FakeCluster) -> None:
    spans: list[FinishedSpan] = []
    pair.tracer = Tracer(spans.append)
    pair.add("prefill-1", Role.PREFILL)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(replace(make_request(max_tokens=40), traceparent=TRACEPARENT))
        await generation.next_tokens()
        pair.remove(pair.workers["decode-0"])
        pair.add("decode-1", Role.DECODE)
        await read(generation)
        assert Stage.ROUTE in {span.stage for span in generation.timeline.spans}

    pair.run(scenario)
    attempts = [span for span in spans if span.name == "attempt"]
    assert [span.attributes["penstock.attempt"] for span in attempts] == [0, 1]
    assert [bool(span.error) for span in attempts] == [True, False]
    assert len({span.context.span_id for span in spans}) == len(spans)


@pytest.mark.parametrize("leave", ["stop", "cancel"])
def test_a_reader_that_has_enough_is_no_error(pair: FakeCluster, leave: str) -> None:
    spans: list[FinishedSpan] = []
    pair.tracer = Tracer(spans.append)

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        generation = dispatcher.generate(replace(make_request(max_tokens=300), traceparent=TRACEPARENT))
        await generation.next_tokens()
        getattr(generation, leave)()

    pair.run(scenario)
    assert [(span.name, span.error) for span in spans] == [("route", ""), ("attempt", "")]


def test_an_untraced_request_leaves_no_span_and_passes_its_context_on(pair: FakeCluster) -> None:
    unsampled = TRACEPARENT[:-1] + "0"

    async def scenario(dispatcher: RoutedDispatcher) -> None:
        await read(dispatcher.generate(replace(make_request(), traceparent=unsampled)))

    pair.run(scenario)
    assert pair.workers["prefill-0"].offers[0].request.traceparent == unsampled
