"""Spans of a prompt: named before it begins, recorded when its gateway is told."""

from dataclasses import replace

import pytest

from penstock.core.errors import QueueFull, WorkerLost
from penstock.core.types import FinishReason, Request, SampledToken, SamplingParams, WorkerRef
from penstock.prefill.spans import PrefillSpans
from penstock.runtime.tracing import OFF, FinishedSpan, SpanKind, Tracer
from penstock.wire.messages import FirstToken, HandedOff, PrefillEnded, PrefillEvents, PrefillStart, StageSpan
from tests.unit.trace_context import TRACEPARENT

ME, DECODE = WorkerRef("prefill-0", 1, ""), WorkerRef("decode-0", 2, "")
START = PrefillStart(Request("r", 0, "gateway", 7, range(40), SamplingParams(), traceparent=TRACEPARENT), [DECODE])
COMPUTED = [StageSpan("queue", 3.0, 2.0), StageSpan("prefill", 2.0, 0.0)]
MOVED = [StageSpan("reserve", 2.0, 1.5), StageSpan("transfer", 1.5, 0.0)]


class Recorded:
    def __init__(self) -> None:
        self.spans: list[FinishedSpan] = []
        self.now_s = 100.0
        self.of = PrefillSpans(Tracer(self.spans.append), lambda: self.now_s)

    def named(self, name: str) -> FinishedSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span


def test_stages_go_below_the_prompt_and_decode_goes_below_the_transfer() -> None:
    recorded = Recorded()
    start = recorded.of.begin(START, ME)
    recorded.now_s = 103.0
    recorded.of.hear(PrefillEvents(first_tokens=[FirstToken(7, SampledToken(1), spans=COMPUTED)]))
    recorded.now_s = 104.0
    recorded.of.hear(PrefillEvents(handed_off=[HandedOff(7, DECODE, MOVED)]))
    prompt, transfer = recorded.named("serve prefill"), recorded.named("transfer")
    assert prompt.context.parent_id == "b7ad6b7169203331"
    assert {recorded.named(name).context.parent_id for name in ("queue", "prefill", "reserve", "transfer")} == {
        prompt.context.span_id
    }
    assert start.request.traceparent == transfer.context.traceparent
    assert (transfer.kind, transfer.began_s, transfer.ended_s) == (SpanKind.PRODUCER, 102.5, 104.0)
    assert (prompt.began_s, prompt.ended_s) == (100.0, 104.0)


@pytest.mark.parametrize("candidates", [[ME], [ME, DECODE], []])
def test_decode_in_place_goes_below_the_prompt(candidates: list[WorkerRef]) -> None:
    recorded = Recorded()
    start = recorded.of.begin(replace(START, decode_candidates=candidates), ME)
    recorded.of.hear(PrefillEvents(first_tokens=[FirstToken(7, SampledToken(1), spans=COMPUTED)]))
    recorded.of.hear(PrefillEvents(handed_off=[HandedOff(7, ME)]))
    assert start.request.traceparent == recorded.named("serve prefill").context.traceparent


@pytest.mark.parametrize(
    ("events", "outcome", "is_error"),
    [
        (PrefillEvents(refused=[PrefillEnded(7, QueueFull("Full."))]), "queue_full", False),
        (PrefillEvents(failed=[PrefillEnded(7, WorkerLost("Lost."))]), "worker_lost", True),
        (PrefillEvents(first_tokens=[FirstToken(7, SampledToken(1), 0, FinishReason.STOP)]), "finished", False),
    ],
)
def test_every_end_is_recorded_once(events: PrefillEvents, outcome: str, is_error: bool) -> None:
    recorded = Recorded()
    recorded.of.begin(START, ME)
    recorded.of.hear(events)
    recorded.of.hear(events)
    recorded.of.cancel([7])
    span = recorded.named("serve prefill")
    assert (span.attributes["penstock.outcome"], bool(span.error)) == (outcome, is_error)


def test_the_end_of_the_stream_ends_what_is_open() -> None:
    recorded = Recorded()
    recorded.of.begin(START, ME)
    recorded.of.close()
    assert recorded.named("serve prefill").attributes["penstock.outcome"] == "cancelled"


def test_an_untraced_offer_passes_as_it_is() -> None:
    spans = PrefillSpans(OFF, lambda: 0.0)
    assert spans.begin(START, ME) is START
