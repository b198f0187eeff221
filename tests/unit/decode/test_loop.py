"""The decoder: engine events in, one message per gateway and step out."""

from dataclasses import replace

import pytest

from penstock.core.errors import Draining
from penstock.core.sequences import TokenEvent
from penstock.core.types import FinishReason, SampledToken, SamplingParams, TokenLogprobs
from penstock.decode.gateway_streams import PATIENCE_S
from penstock.runtime.tracing import FinishedSpan, Tracer
from penstock.wire.messages import Finished
from tests.unit.decode.decode_worker import decode_worker, request, take, tokens_of
from tests.unit.engine.mock_engine import STEP_S, FakeOwner, expected_tokens, make_request
from tests.unit.trace_context import TRACEPARENT
from tests.unit.virtual_time import in_virtual_time, pass_time, settle


@in_virtual_time
async def test_one_message_per_step_and_gateway() -> None:
    async with decode_worker() as worker:
        outbox, other = worker.decoder.streams.open("gateway"), worker.decoder.streams.open("other")
        for handle in range(3):
            await worker.hand_over(request(40, handle), handle)
        await worker.hand_over(replace(request(20, 7), gateway_id="other"), 7)
        await settle()
        assert worker.decoder.num_sequences == 4
        await pass_time(1.5 * STEP_S)
        [step] = take(outbox)
        assert (list(step.handles), list(step.positions)) == ([0, 1, 2], [1, 1, 1])
        assert list(step.token_ids) == [expected_tokens(range(40), 2)[1]] * 3
        assert [list(step.handles) for step in take(other)] == [[7]]
        await pass_time(10 * STEP_S)
        ends = [end for step in take(outbox) for end in step.finished]
        assert [(end.handle, end.reason, end.error) for end in ends] == [
            (n, FinishReason.LENGTH, None) for n in range(3)
        ]
        assert [span.stage for span in ends[0].spans] == ["decode_wait", "decode"]
        assert ends[0].spans[0].began_ago_s > 6 * STEP_S
        assert worker.decoder.num_sequences == 0


@in_virtual_time
async def test_log_probabilities_go_along_for_those_who_asked() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")
        asked = make_request(range(40), handle=1, sampling=SamplingParams(max_tokens=3, num_logprobs=1))
        await worker.hand_over(request(40, 0, max_tokens=3), 1)
        await worker.hand_over(asked, 2)
        await pass_time(10 * STEP_S)
        logprobs = [entry for step in take(outbox) for entry in step.logprobs]
        said = expected_tokens(range(40), 3)[1:]
        assert logprobs == [(1, TokenLogprobs(0.0, (token_id,), (0.0,))) for token_id in said]


@in_virtual_time
async def test_a_gateway_that_never_opens_its_stream_costs_its_requests() -> None:
    async with decode_worker() as worker:
        await worker.hand_over(request(40, max_tokens=100_000))
        await pass_time(PATIENCE_S + 1)
        assert worker.decoder.num_sequences == 0
        assert worker.num_referenced == 0


@in_virtual_time
async def test_a_gateway_that_stops_reading_costs_only_its_own_requests() -> None:
    async with decode_worker() as worker:
        slow, other = worker.decoder.streams.open("gateway"), worker.decoder.streams.open("other")
        slow._max_items = 3
        await worker.hand_over(request(40, max_tokens=1000), 1)
        await worker.hand_over(replace(request(40, 1), gateway_id="other"), 2)
        await pass_time(20 * STEP_S)
        assert worker.decoder.num_sequences == 0
        assert tokens_of(other, 1) == expected_tokens(range(40), 8)[1:]


@in_virtual_time
async def test_all_are_handed_back_when_the_worker_goes() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")
        for handle in range(2):
            await worker.hand_over(request(40, handle), handle)
        await pass_time(3.5 * STEP_S)
        last = take(outbox)[-1]
        error = Draining("Going away.")
        worker.decoder.fail_all(error)
        said = take(outbox)
        assert {step.step for step in said} == {last.step}  # the number of a step never falls
        ends = [end for step in said for end in step.finished]
        assert ends == [Finished(handle, error=error) for handle in range(2)]
        await pass_time(STEP_S)
        assert worker.num_referenced == 0


@in_virtual_time
async def test_preemption_is_no_news_to_a_gateway() -> None:
    async with decode_worker(num_blocks=7) as worker:
        outbox = worker.decoder.streams.open("gateway")
        for handle in range(2):
            await worker.hand_over(request(40, handle, 40, first=100 * handle), handle)
        await pass_time(200 * STEP_S)
        assert worker.engine.totals.num_preemptions > 0
        for handle in range(2):
            assert tokens_of(outbox, handle) == expected_tokens(range(100 * handle, 100 * handle + 40), 40)[1:]


@in_virtual_time
async def test_a_sequence_decoded_in_place_is_like_any_other() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")

        class Prefiller:
            """Gives a sequence away with its first token."""

            def on_start(self, sequence: object) -> None: ...

            def on_layers(self, items: object, layers: object) -> None: ...

            def on_tokens(self, step: int, events: list[TokenEvent]) -> None:
                worker.decoder.start(events[0].sequence)

        worker.engine.book.accept(request(40), Prefiller(), is_prefill_only=False)  # type: ignore[arg-type]
        await pass_time(20 * STEP_S)
        assert tokens_of(outbox, 0) == expected_tokens(range(40), 8)[1:]


@in_virtual_time
async def test_positions_count_over_all_attempts() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")
        sequence = worker.engine.book.accept(
            make_request(range(9), output_token_ids=[5, 6, 7]), worker.decoder, is_prefill_only=False
        )
        worker.decoder.start(sequence)
        sequence.token_ids.append(8)
        worker.decoder.on_tokens(3, [TokenEvent(sequence, SampledToken(8), None)])
        assert take(outbox)[0].positions == [3]
        worker.decoder.cancel(("gateway", 0))


@in_virtual_time
async def test_a_sequence_waits_for_the_running_step_and_then_decodes() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")
        await worker.hand_over(request(40, 0, max_tokens=9), 0)
        await pass_time(1.25 * STEP_S)  # its second step has begun
        await worker.hand_over(request(40, 1, max_tokens=3, first=100), 1)
        await pass_time(20 * STEP_S)
        (end,) = [end for step in take(outbox) for end in step.finished if end.handle == 1]
        wait, decode = end.spans
        assert wait.began_ago_s - wait.ended_ago_s == pytest.approx(0.75 * STEP_S)
        assert decode.began_ago_s - decode.ended_ago_s == pytest.approx(2 * STEP_S)


@in_virtual_time
async def test_a_sequence_waits_for_a_prompt_that_is_being_computed_and_then_decodes() -> None:
    async with decode_worker() as worker:
        outbox = worker.decoder.streams.open("gateway")
        prompt = worker.engine.book.accept(request(40, 1, first=100), FakeOwner(), is_prefill_only=True)
        await pass_time(0.25 * STEP_S)
        await worker.hand_over(request(40, 0, max_tokens=3), 0)
        await pass_time(20 * STEP_S)
        worker.engine.book.release(prompt)
        (end,) = [end for step in take(outbox) for end in step.finished]
        wait, decode = end.spans
        assert wait.began_ago_s - wait.ended_ago_s == pytest.approx(0.75 * STEP_S)
        assert decode.began_ago_s - decode.ended_ago_s == pytest.approx(2 * STEP_S)


@in_virtual_time
async def test_a_traced_sequence_has_spans_below_whoever_handed_it_over() -> None:
    spans: list[FinishedSpan] = []
    async with decode_worker() as worker:
        worker.decoder._tracer = Tracer(spans.append)
        worker.decoder.streams.open("gateway")
        for handle in range(2):
            await worker.hand_over(
                replace(request(40, handle, max_tokens=3, first=handle), traceparent=TRACEPARENT), handle
            )
        await settle()
        assert worker.decoder.cancel(("gateway", 1))
        await pass_time(10 * STEP_S)
    finished = {span.attributes["penstock.outcome"]: span for span in spans if span.name == "serve decode"}
    assert set(finished) == {"length", "cancelled"}
    assert {span.error for span in finished.values()} == {""}
    assert {span.context.parent_id for span in finished.values()} == {"b7ad6b7169203331"}
    stages = [span for span in spans if span.context.parent_id == finished["length"].context.span_id]
    assert [span.name for span in stages] == ["decode_wait", "decode"]


@in_virtual_time
async def test_the_span_of_what_is_handed_back_says_why() -> None:
    spans: list[FinishedSpan] = []
    async with decode_worker() as worker:
        worker.decoder._tracer = Tracer(spans.append)
        worker.decoder.streams.open("gateway")
        await worker.hand_over(replace(request(40), traceparent=TRACEPARENT))
        await pass_time(1.5 * STEP_S)
        worker.decoder.fail_all(Draining("Going away."))
        await pass_time(STEP_S)
    assert (spans[-1].attributes["penstock.outcome"], spans[-1].error) == ("draining", "Going away.")
