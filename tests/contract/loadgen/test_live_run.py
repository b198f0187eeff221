"""What the client measures, of servers that behave and of servers that do not."""

import asyncio
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from penstock.core.timeline import Slo
from penstock_loadgen.arrivals import ArrivalSpec
from penstock_loadgen.exchange import CANCELLED, CONNECT, CUT, NO_STREAM, STREAM_ERROR, TIMEOUT
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.live_run import LiveResult, Patience
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.sessions import CancelSpec, ImageSpec, TrafficClass, TurnSpec
from penstock_loadgen.validity import judge
from penstock_loadgen.workload import WorkloadSpec, sessions
from tests.contract.loadgen.conftest import Serve, live_run, play
from tests.fake_openai_server import NUM_FRAME_TOKENS, TOKENS_PER_WORD, FakeServer, Script
from tests.unit.loadgen.records import most_at_once

LENGTHS = LengthSpec("fixed", 30, 5)


def workload(num_requests: int = 4, **changes: Any) -> WorkloadSpec:
    values: dict[str, Any] = {"arrivals": ArrivalSpec("uniform", 100.0), "lengths": LENGTHS}
    return WorkloadSpec(num_requests=num_requests, **{**values, **changes})


def one_class(**fields: Any) -> WorkloadSpec:
    return workload(classes=(TrafficClass(lengths=LENGTHS, **fields),))


async def played(server: FakeServer, spec: WorkloadSpec, **more: Any) -> list[RequestRecord]:
    return (await play(server, spec, **more)).records


async def test_scripted_times_are_what_is_measured(serve: Serve) -> None:
    server = await serve(Script(first_s=0.15, gap_s=0.05, opens_at_once=True))
    for record in await played(server, workload()):
        assert record.is_success and record.has_usage
        assert record.ttft_s is not None and 0.15 <= record.ttft_s < 0.4  # not when the role came
        assert len(record.event_times_s) == record.num_output_tokens == 5
        assert 0.19 <= record.event_times_s[-1] - record.event_times_s[0] < 0.5
        assert record.timeline.tpot_s == pytest.approx((record.event_times_s[-1] - record.event_times_s[0]) / 4)


@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_prompts_are_as_long_as_asked_for_and_answers_are_forced(serve: Serve, api: str) -> None:
    server = await serve(Script())
    records = await played(server, workload(), api=api)
    frame = NUM_FRAME_TOKENS if api == "chat" else 0
    assert {record.num_prompt_tokens for record in records} == {round(30 / TOKENS_PER_WORD) * 1.5 + frame}
    body = server.requests[0]
    assert (body["stream"], body["ignore_eos"], body["max_tokens"]) == (True, True, 5)
    assert body["stream_options"] == {"include_usage": True}
    assert server.paths[0] == ("/v1/chat/completions" if api == "chat" else "/v1/completions")


async def test_events_that_arrive_in_pieces_are_counted_once(serve: Serve) -> None:
    server = await serve(Script(gap_s=0.01, splits_writes=True))
    assert [len(record.event_times_s) for record in await played(server, workload())] == [5] * 4


async def test_tokens_are_counted_by_usage_and_without_it_by_events(serve: Serve) -> None:
    server = await serve(Script(tokens_per_event=2), Script(tokens_per_event=2, has_usage=False))
    spec = workload(2, arrivals=ArrivalSpec("closed"), lengths=LengthSpec("fixed", 30, 6))
    with_usage, without = await played(server, spec)
    assert (with_usage.num_output_tokens, len(with_usage.event_times_s), with_usage.has_usage) == (6, 3, True)
    assert (without.num_output_tokens, without.has_usage, without.is_success) == (3, False, True)


@pytest.mark.parametrize(
    ("script", "kind", "num_events"),
    [
        (Script(status=500), "http_500", 0),
        (Script(status=429, headers=("Retry-After: 3",)), "http_429", 0),
        (Script(cut_after=0), CUT, 0),
        (Script(cut_after=2), CUT, 2),
        (Script(ends_silently_after=2), CUT, 2),
        (Script(error_after=3), STREAM_ERROR, 3),
        (Script(is_stream=False), NO_STREAM, 0),
    ],
)
async def test_each_misbehaviour_has_its_kind(serve: Serve, script: Script, kind: str, num_events: int) -> None:
    server = await serve(script, Script())
    failed, fine = await played(server, workload(2, arrivals=ArrivalSpec("closed")))
    assert (failed.kind, len(failed.event_times_s)) == (kind, num_events)
    assert failed.error and not failed.is_met
    assert fine.is_success


async def test_a_server_that_stays_silent_is_timed_out(serve: Serve) -> None:
    server = await serve(Script(first_s=60.0))
    records = await played(server, workload(2), patience=Patience(timeout_s=0.2))
    assert [record.kind for record in records] == [TIMEOUT] * 2
    assert all(0.2 <= record.ended_s - record.sent_s < 2 for record in records)


async def test_nobody_there_is_a_failed_connection() -> None:
    server = FakeServer(port=9)  # discard: nothing listens there
    assert [record.kind for record in await played(server, workload(2))] == [CONNECT] * 2


async def test_retries_wait_as_told_and_count_from_the_first_attempt(serve: Serve) -> None:
    server = await serve(Script(status=429, headers=("Retry-After: 0.3",)), Script(status=503), Script())
    patience = Patience(max_retries=2, max_retry_wait_s=0.4)
    (record,) = await played(server, workload(1), patience=patience)
    assert record.is_success
    assert record.num_retries == 2
    assert record.ttft_s is not None and record.ttft_s >= 0.3 + 0.4


async def test_a_client_that_gives_up_closes_its_stream(serve: Serve) -> None:
    server = await serve(Script(gap_s=0.02))
    records = await played(server, one_class(cancel=CancelSpec(1.0, after_tokens=2)))
    assert [(record.kind, len(record.event_times_s)) for record in records] == [(CANCELLED, 2)] * 4
    async with asyncio.timeout(5):
        while server.num_aborted < 4:
            await asyncio.sleep(0.01)


async def test_later_turns_carry_what_was_really_said_and_wait_for_it(serve: Serve) -> None:
    server = await serve(Script(first_s=0.05))
    spec = workload(
        1, classes=(TrafficClass(lengths=LENGTHS, turns=TurnSpec(3, 3), system_prompt="Be brief.", tenant="acme"),)
    )
    records = await played(server, spec)
    assert [record.turn for record in records] == [0, 1, 2]
    assert all(later.sent_s >= earlier.ended_s for earlier, later in pairwise(records))
    roles = [message["role"] for message in server.requests[2]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    contents = [message["content"] for message in server.requests[2]["messages"]]
    assert contents[2] == " word" * 5
    assert contents[:4] == [message["content"] for message in server.requests[1]["messages"]]
    assert len({headers["x-session-id"] for headers in server.headers}) == 1
    assert server.headers[0]["x-tenant-id"] == "acme"


async def test_a_session_ends_with_a_turn_that_failed(serve: Serve) -> None:
    server = await serve(Script(), Script(cut_after=1))
    records = await played(server, workload(1, classes=(TrafficClass(lengths=LENGTHS, turns=TurnSpec(4, 4)),)))
    assert [record.kind for record in records] == ["", CUT]


async def test_objectives_priorities_keys_and_extras_are_sent(serve: Serve) -> None:
    server = await serve(Script())
    spec = one_class(
        slo=Slo(ttft_s=0.25, tpot_s=0.02),
        sends_slo=True,
        priority=3,
        api_key="of the tenant",
        headers={"x-team": "blue"},
        body={"top_k": 5},
        images=ImageSpec(2, 28, 28),
    )
    await played(server, spec, api_key="of everybody")
    headers, body = server.headers[0], server.requests[0]
    assert headers["x-llm-d-slo-ttft-ms"] == "250"
    assert headers["x-llm-d-slo-tpot-ms"] == "20"
    assert headers["x-penstock-priority"] == "3"
    assert headers["authorization"] == "Bearer of the tenant"
    assert headers["x-team"] == "blue"
    assert body["top_k"] == 5
    kinds = [part["type"] for part in body["messages"][0]["content"]]
    assert kinds == ["image_url", "image_url", "text"]
    first, second = body["messages"][0]["content"][:2]
    assert first["image_url"]["url"] != second["image_url"]["url"]


async def test_pictures_stand_after_the_words_if_so_wanted_and_are_told_again_with_each_turn(serve: Serve) -> None:
    server = await serve(Script())
    spec = one_class(images=ImageSpec(2, 28, 28, place="after"), turns=TurnSpec(2, 2))
    await played(server, replace(spec, num_requests=1))
    first, second = server.requests
    assert [part["type"] for part in first["messages"][0]["content"]] == ["text", "image_url", "image_url"]
    assert second["messages"][0] == first["messages"][0]
    assert [type(message["content"]) for message in second["messages"]] == [list, str, str]


async def test_a_closed_loop_keeps_so_many_under_way(serve: Serve) -> None:
    server = await serve(Script(first_s=0.05))
    records = await played(server, workload(12, arrivals=ArrivalSpec("closed", concurrency=3)))
    assert len(records) == 12
    assert most_at_once(records) == 3


async def test_an_open_loop_does_not_wait_for_answers(serve: Serve) -> None:
    server = await serve(Script(first_s=0.5))
    records = await played(server, workload(20))
    assert max(record.sent_s for record in records) < min(record.ended_s for record in records)


async def test_a_client_that_is_held_up_says_so(serve: Serve) -> None:
    server = await serve(Script())
    run = live_run(server, workload(60))

    async def hold_up() -> None:
        await asyncio.sleep(0.2)
        time.sleep(0.3)

    result, _ = await asyncio.gather(run.run(sessions(workload(60)), time.monotonic()), hold_up())
    assert len(result.records) == 60  # late, but sent: nothing is left out to look better
    validity = judge(result.records, result.lags_s)
    assert not validity.is_valid
    assert validity.lateness_p99_s > 0.1


async def test_stopping_gives_up_what_is_under_way(serve: Serve) -> None:
    server = await serve(Script(), Script(first_s=60.0))
    spec = workload(1000, arrivals=ArrivalSpec("uniform", 20.0))
    run = live_run(server, spec)
    playing = asyncio.create_task(run.run(sessions(spec), time.monotonic()))
    await asyncio.sleep(0.5)
    run.stop()
    result: LiveResult = await asyncio.wait_for(playing, 5)
    assert 0 < len(result.records) < 1000
    assert all(record.is_success for record in result.records)


async def test_connections_are_used_again(serve: Serve) -> None:
    server = await serve(Script())
    run = live_run(server, workload())
    spec = workload(20, arrivals=ArrivalSpec("closed"))
    assert all(record.is_success for record in (await run.run(sessions(spec), time.monotonic(), 1)).records)
    assert server.num_connections == 1


async def test_the_workloads_objectives_are_sent_for_a_class_without_its_own(serve: Serve) -> None:
    server = await serve(Script())
    spec = workload(1, classes=(TrafficClass(lengths=LENGTHS, sends_slo=True),), slo=Slo(ttft_s=0.5, tpot_s=0.05))
    await played(server, spec)
    headers = server.headers[0]
    assert (headers["x-llm-d-slo-ttft-ms"], headers["x-llm-d-slo-tpot-ms"]) == ("500", "50")


async def test_an_answer_no_longer_than_what_the_client_stays_for_is_read_to_its_end(serve: Serve) -> None:
    server = await serve(Script())
    records = await played(server, one_class(cancel=CancelSpec(1.0, after_tokens=5)))
    assert all(record.is_success for record in records)
