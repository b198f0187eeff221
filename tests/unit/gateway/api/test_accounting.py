"""What is owed for every request, once: counts, objectives, its line, its span, its place among the remembered."""

import asyncio
import logging
from typing import Any

import pytest

from penstock.core.errors import Overloaded, WorkerLost
from penstock.core.timeline import Slo
from penstock.gateway.api.auth import MAX_NUM_TENANTS, ApiKeys
from penstock.gateway.api.request_log import NUM_REMEMBERED
from penstock.gateway.api.service import Service
from penstock.runtime.tracing import FinishedSpan, SpanKind, Tracer
from tests.gateway_fakes import Client, FakeDispatcher, chat, make_service
from tests.unit.trace_context import TRACEPARENT

CHAT = "/v1/chat/completions"


def value(service: Service, name: str, **labels: str) -> float:
    return service.metrics.registry.get_sample_value(name, labels) or 0.0


def ticking(step_s: float) -> Any:
    """A clock that moves whenever it is looked at."""
    now_s = 100.0

    def tick() -> float:
        nonlocal now_s
        now_s += step_s
        return now_s

    return tick


async def test_an_answer_counts_for_its_tenant() -> None:
    service = make_service(FakeDispatcher(), api_keys=["acme:secret", "bare"])
    client = Client(service)
    await client.post(CHAT, chat(), {"authorization": "Bearer secret"})
    answer = await client.post(CHAT, chat(), {"authorization": "Bearer secret"})
    await client.post(CHAT, chat(), {"authorization": "Bearer bare"})
    assert value(service, "penstock_requests_total", tenant="acme", outcome="answered") == 2
    assert value(service, "penstock_requests_total", tenant="key-2", outcome="answered") == 1
    num_prompt, num_output = answer.json["usage"]["prompt_tokens"], answer.json["usage"]["completion_tokens"]
    assert value(service, "penstock_tenant_tokens_total", tenant="acme", kind="prompt") == 2 * num_prompt
    assert value(service, "penstock_tenant_tokens_total", tenant="acme", kind="output") == 2 * num_output


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Overloaded("Full."), "shed"), (WorkerLost("Gone."), "failed")],
)
async def test_what_we_refuse_or_fail_missed_its_objectives(error: Any, outcome: str) -> None:
    service = make_service(FakeDispatcher(error=error, text=""))
    await Client(service).post(CHAT, chat(), {"x-tenant-id": "acme"})
    assert value(service, "penstock_requests_total", tenant="acme", outcome=outcome) == 1
    assert value(service, "penstock_tenant_refusals_total", tenant="acme", code=error.code) == 1
    assert value(service, "penstock_slo_sequences_total", objective="ttft", outcome="missed") == 1


async def test_what_the_client_got_wrong_is_not_held_against_us() -> None:
    service = make_service(FakeDispatcher())
    await Client(service).post(CHAT, chat(temperature=9))
    assert value(service, "penstock_requests_total", tenant="anonymous", outcome="invalid") == 1
    assert value(service, "penstock_slo_sequences_total", objective="ttft", outcome="missed") == 0


async def test_a_wrong_key_is_counted_for_nobody() -> None:
    service = make_service(FakeDispatcher(), api_keys=["secret"])
    await Client(service).post(CHAT, chat(), {"authorization": "Bearer guess", "x-tenant-id": "acme"})
    assert value(service, "penstock_requests_total", tenant="", outcome="invalid") == 1


@pytest.mark.parametrize(
    ("headers", "ttft", "tpot"),
    [
        ({}, "met", "met"),
        ({"x-llm-d-slo-ttft-ms": "1"}, "missed", "met"),
        ({"x-llm-d-slo-tpot-ms": "1"}, "met", "missed"),
    ],
)
async def test_objectives_are_the_headers_or_else_the_gateways(headers: dict[str, str], ttft: str, tpot: str) -> None:
    service = make_service(FakeDispatcher(), now_s=ticking(0.01), objectives=Slo(1.0, 0.1))
    await Client(service).post(CHAT, chat(), headers)
    assert value(service, "penstock_slo_sequences_total", objective="ttft", outcome=ttft) == 1
    assert value(service, "penstock_slo_sequences_total", objective="tpot", outcome=tpot) == 1


async def test_a_client_that_leaves_is_counted_by_how_far_it_got() -> None:
    dispatcher = FakeDispatcher(is_manual=True)
    service = make_service(dispatcher)
    client = Client(service)
    call = asyncio.create_task(client.post(CHAT, chat()))
    while not dispatcher.generations:
        await asyncio.sleep(0)
    client.left.set()
    await call
    assert value(service, "penstock_cancellations_total", **{"while": "waiting"}) == 1
    assert value(service, "penstock_requests_total", tenant="anonymous", outcome="cancelled") == 1


def test_tenants_by_their_own_word_are_bounded() -> None:
    keys = ApiKeys([])
    names = {keys.tenant("", f"tenant-{number}").name for number in range(10 * MAX_NUM_TENANTS)}
    assert len(names) == MAX_NUM_TENANTS + 1
    assert keys.tenant("", "tenant-0").name == "tenant-0"
    assert keys.tenant("", "a b{}").name == "other"


def test_a_tenant_that_rules_name_is_told_apart_however_many_came_before() -> None:
    keys = ApiKeys([], expected=("acme",))
    others = {keys.tenant("", f"tenant-{number}").name for number in range(10 * MAX_NUM_TENANTS)}
    assert len(others) == MAX_NUM_TENANTS + 1
    assert keys.tenant("", "acme").name == "acme"


async def test_what_is_no_request_for_completions_is_not_counted_as_one() -> None:
    spans: list[FinishedSpan] = []
    service = make_service(FakeDispatcher(), tracer=Tracer(spans.append))
    assert (await Client(service).get(CHAT)).status == 405
    assert not service.metrics.requests.items()
    assert not spans


@pytest.mark.parametrize("body", [chat(), chat(stream=True), chat(temperature=9)])
async def test_every_request_has_exactly_one_line(body: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await Client(make_service(FakeDispatcher())).post(CHAT, body, {"x-request-id": "mine"})
    (record,) = [record for record in caplog.records if record.name == "penstock.gateway.api.accounting"]
    assert record.__dict__["request_id"] == "mine"
    figures = record.__dict__["figures"]
    assert figures["path"] == CHAT
    assert (figures["outcome"] == "answered") == ("ttft_s" in figures)


async def test_a_request_is_remembered_by_its_id_and_by_its_answers() -> None:
    client = Client(make_service(FakeDispatcher(), now_s=ticking(0.01)))
    answer = await client.post(CHAT, chat(), {"x-request-id": "mine", "x-tenant-id": "acme"})
    by_id = (await client.get("/cluster/requests/mine")).json
    by_answer = (await client.get(f"/cluster/requests/{answer.json['id']}")).json
    by_sequence = (await client.get(f"/cluster/requests/{answer.json['id']}-0")).json
    assert by_id["answer_id"] == by_answer["answer_id"] == by_sequence["answer_id"] == answer.json["id"]
    assert (by_id["state"], by_id["status"], by_id["tenant"]) == ("finished", 200, "acme")
    (sequence,) = by_id["sequences"]
    assert 0 < sequence["first_token_s"] == by_id["ttft_s"] < sequence["last_token_s"] < by_id["e2e_s"]
    assert sequence["num_tokens"] == answer.json["usage"]["completion_tokens"] == by_id["num_output_tokens"]
    assert (await client.get("/cluster/requests/other")).status == 404


async def test_a_running_request_is_shown_as_such() -> None:
    dispatcher = FakeDispatcher(is_manual=True)
    client = Client(make_service(dispatcher))
    call = asyncio.create_task(client.post(CHAT, chat(), {"x-request-id": "mine"}))
    while not dispatcher.generations:
        await asyncio.sleep(0)
    (shown,) = (await client.get("/cluster/requests")).json["requests"]
    assert (shown["state"], shown["request_id"], shown["e2e_s"]) == ("running", "mine", None)
    client.left.set()
    await call


@pytest.mark.parametrize("limit", ["-1", "many", "513", "9" * 5000])
async def test_a_limit_that_cannot_be_is_refused(limit: str) -> None:
    answer = await Client(make_service(FakeDispatcher())).get(f"/cluster/requests?limit={limit}")
    assert (answer.status, answer.error["param"]) == (400, "limit")


async def test_the_ring_is_bounded() -> None:
    service = make_service(FakeDispatcher(text="a"))
    client = Client(service)
    for _ in range(NUM_REMEMBERED + 3):
        await client.post(CHAT, chat())
    assert value(service, "penstock_gateway_remembered_requests", state="finished") == NUM_REMEMBERED
    assert value(service, "penstock_gateway_remembered_requests", state="running") == 0
    assert len((await client.get("/cluster/requests")).json["requests"]) == 32


async def test_a_traced_request_has_a_span_below_the_clients() -> None:
    spans: list[FinishedSpan] = []
    dispatcher = FakeDispatcher()
    service = make_service(dispatcher, tracer=Tracer(spans.append))
    answer = await Client(service).post(CHAT, chat(max_tokens=5), {"traceparent": TRACEPARENT})
    (span,) = spans
    assert (span.context.trace_id, span.context.parent_id) == tuple(TRACEPARENT.split("-")[1:3])
    assert dispatcher.requests[0].traceparent == span.context.traceparent
    assert (span.name, span.kind) == ("chat tiny", SpanKind.SERVER)
    assert span.attributes["gen_ai.response.id"] == answer.json["id"]
    assert span.attributes["gen_ai.usage.output_tokens"] == answer.json["usage"]["completion_tokens"]
    assert span.attributes["gen_ai.request.max_tokens"] == 5


async def test_a_request_whose_client_does_not_sample_is_not_traced_anywhere() -> None:
    spans: list[FinishedSpan] = []
    dispatcher = FakeDispatcher()
    unsampled = TRACEPARENT[:-1] + "0"
    await Client(make_service(dispatcher, tracer=Tracer(spans.append))).post(CHAT, chat(), {"traceparent": unsampled})
    assert not spans
    assert dispatcher.requests[0].traceparent == unsampled
