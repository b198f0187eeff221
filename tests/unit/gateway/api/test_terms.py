"""What headers and keys ask for, and what is counted."""

from typing import Any

import pytest

from penstock.core.types import Request
from penstock.gateway.api.auth import ApiKeys
from penstock.gateway.api.service import ApiLimits
from tests.gateway_fakes import (
    Client,
    FakeDispatcher,
    chat,
    make_service,
    tokens_of,
)
from tests.unit.trace_context import TRACEPARENT

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TEXT = "Größe 🙂 and a wheel turns"


def client_saying(text: str = TEXT, **how: Any) -> tuple[Client, FakeDispatcher]:
    dispatcher = FakeDispatcher(text, **how)
    return Client(make_service(dispatcher)), dispatcher


def only_request(dispatcher: FakeDispatcher) -> Request:
    (request,) = dispatcher.requests
    return request


async def test_headers_become_deadline_priority_and_trace() -> None:
    client, dispatcher = client_saying()
    headers = {
        "x-llm-d-slo-ttft-ms": "250",
        "x-penstock-priority": "-3",
        "traceparent": TRACEPARENT,
        "x-request-id": "mine",
    }
    response = await client.post(CHAT, chat(), headers)
    request = only_request(dispatcher)
    assert request.first_token_deadline_s == pytest.approx(100.25)
    assert (request.priority, request.traceparent) == (-3, TRACEPARENT)
    assert response.headers["x-request-id"] == "mine"
    assert request.request_id != "mine"  # clients repeat theirs


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-llm-d-slo-ttft-ms", v) for v in ("0", "-5", "soon", "nan", "1e3", "٣")]
    + [("x-penstock-priority", v) for v in ("1.5", "high", "99999999999999")],
)
async def test_a_header_that_means_nothing_is_refused_by_name(header: str, value: str) -> None:
    client, dispatcher = client_saying()
    response = await client.post(CHAT, chat(), {header: value.encode().decode("latin-1")})
    assert (response.status, response.error["param"]) == (400, header)
    assert not dispatcher.requests


async def test_tenants_share_no_prefix() -> None:
    dispatcher = FakeDispatcher()
    client = Client(make_service(dispatcher, api_keys=["alpha", "beta"]))
    for key in ("alpha", "beta"):
        await client.post(COMPLETIONS, {"prompt": [5] * 64}, {"authorization": f"Bearer {key}"})
    first, second = dispatcher.requests
    assert len(first.block_hashes) == len(second.block_hashes) == 4
    assert not set(first.block_hashes) & set(second.block_hashes)


@pytest.mark.parametrize(
    ("api_keys", "headers", "tenant"),
    [
        ((), {"x-tenant-id": "acme"}, "acme"),
        (("acme:one", "acme:two"), {"authorization": "Bearer one"}, "acme"),
        (("acme:one", "acme:two"), {"authorization": "Bearer two"}, "acme"),
        (("bare",), {"authorization": "Bearer bare"}, "key-1"),
    ],
)
async def test_workers_know_tenants_by_the_names_that_are_counted(
    api_keys: tuple[str, ...], headers: dict[str, str], tenant: str
) -> None:
    dispatcher = FakeDispatcher()
    await Client(make_service(dispatcher, api_keys=api_keys)).post(CHAT, chat(), headers)
    assert only_request(dispatcher).tenant == tenant


async def test_too_many_choices_are_refused() -> None:
    dispatcher = FakeDispatcher()
    client = Client(make_service(dispatcher, limits=ApiLimits(max_num_choices=3)))
    response = await client.post(COMPLETIONS, {"prompt": ["a", "b"], "n": 2})
    assert (response.status, response.error["param"]) == (400, "n")
    assert not dispatcher.requests


async def test_metrics_count_every_token_once() -> None:
    service = make_service(FakeDispatcher(TEXT))
    client = Client(service)
    await client.post(CHAT, chat(n=2))
    text = (await client.get("/metrics")).body.decode()
    num_tokens = 2 * (len(tokens_of(TEXT)) + 1)
    assert f'vllm:generation_tokens_total{{model_name="tiny"}} {float(num_tokens)}' in text
    assert 'vllm:request_success_total{finished_reason="stop",model_name="tiny"} 2.0' in text
    assert 'vllm:time_to_first_token_seconds_count{model_name="tiny"} 2.0' in text
    # the dispatcher says a first token and a second before anyone reads: one arrival
    assert f'vllm:inter_token_latency_seconds_count{{model_name="tiny"}} {float(num_tokens - 4)}' in text
    assert 'penstock_gateway_responses_total{path="/v1/chat/completions",status="200"} 1.0' in text


def test_api_keys_are_compared_whole() -> None:
    keys = ApiKeys(["secret"])
    assert keys.tenant("Bearer secret") == keys.tenant("bearer  secret")
    assert ApiKeys([]).tenant("").salt == b""
