"""Spans as collectors read them, and what the standard variables mean."""

import base64
import http.client
import json
import urllib.request
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from penstock.core.errors import InvalidSettings
from penstock.runtime.otlp import MAX_NUM_WAITING, SpanExporter, TraceTarget, post_to, trace_target
from penstock.runtime.tracing import FinishedSpan, SpanContext, SpanKind

SPAN = FinishedSpan(
    SpanContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"),
    "serve prefill",
    SpanKind.SERVER,
    began_s=10.0,
    ended_s=10.25,
    attributes={"text": "a", "count": 2**53 + 1, "share": 0.5, "is_so": True, "list": ("x", "y")},
    error="The worker was lost.",
)


def exporter(post: Any) -> SpanExporter:
    return SpanExporter({"service.name": "penstock-prefill"}, post, wall_offset_s=1000.0)


def as_the_schema_reads_it(body: bytes) -> ExportTraceServiceRequest:
    """OTLP's JSON is protobuf's, but for ids, which are hexadecimal; a name that is not in the schema is an error."""
    message = json.loads(body)
    for span in (s for r in message["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]):
        for key in ("traceId", "spanId", "parentSpanId"):
            if key in span:
                span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    return json_format.ParseDict(message, ExportTraceServiceRequest())


def test_a_span_is_what_the_schema_says() -> None:
    bodies: list[bytes] = []
    sending = exporter(bodies.append)
    sending.put(SPAN)
    sending.flush()
    (resource,) = as_the_schema_reads_it(bodies[0]).resource_spans
    assert resource.resource.attributes[0].value.string_value == "penstock-prefill"
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.kind) == ("serve prefill", span.SPAN_KIND_SERVER)
    assert span.trace_id.hex() == SPAN.context.trace_id
    assert span.parent_span_id.hex() == SPAN.context.parent_id
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1_010_000_000_000, 1_010_250_000_000)
    values = {attribute.key: attribute.value for attribute in span.attributes}
    assert values["text"].string_value == "a"
    assert values["count"].int_value == 2**53 + 1
    assert values["share"].double_value == 0.5
    assert values["is_so"].bool_value is True
    assert [item.string_value for item in values["list"].array_value.values] == ["x", "y"]
    assert (span.status.code, span.status.message) == (span.status.STATUS_CODE_ERROR, "The worker was lost.")


def test_a_collector_that_is_away_costs_spans_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(body: bytes) -> None:
        raise ConnectionRefusedError("nobody there")

    sending = exporter(refuse)
    for _ in range(2):
        sending.put(SPAN)
        sending.flush()
    assert dict(sending.samples()) == {("sent",): 0, ("lost",): 2}
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_what_does_not_answer_in_http_costs_spans_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(*_: Any, **__: Any) -> Any:
        raise http.client.BadStatusLine("\x00\x00\x06\x04")  # HTTP/2

    monkeypatch.setattr(urllib.request, "urlopen", greet)
    sending = exporter(post_to(TraceTarget("http://c:4317/v1/traces")))
    sending.put(SPAN)
    sending.flush()
    assert dict(sending.samples()) == {("sent",): 0, ("lost",): 1}


def test_what_waits_is_bounded() -> None:
    sending = exporter(lambda body: None)
    for _ in range(MAX_NUM_WAITING + 5):
        sending.put(SPAN)
    sending.flush()
    assert dict(sending.samples()) == {("sent",): MAX_NUM_WAITING, ("lost",): 5}


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/x"}, "http://c:4318/x"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_where_spans_go(env: dict[str, str], url: str | None) -> None:
    target = trace_target(env)
    assert (target.url if target else None) == url


@pytest.mark.parametrize(
    ("sampler", "argument", "share"),
    [
        ("always_on", "", 1.0),
        ("parentbased_always_off", "", 0.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "0.1", 0.1),
    ],
)
def test_which_share_of_new_traces_is_recorded(sampler: str, argument: str, share: float) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_SAMPLER": sampler}
    target = trace_target(env | ({"OTEL_TRACES_SAMPLER_ARG": argument} if argument else {}))
    assert target is not None and target.sampled_share == share


def test_headers_and_attributes_are_lists_of_pairs() -> None:
    target = trace_target(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x, tenant = a",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=p-0",
        }
    )
    assert target is not None
    assert target.headers == {"authorization": "Bearer x", "tenant": "a"}
    assert target.resource == {"k8s.pod.name": "p-0"}


@pytest.mark.parametrize(
    "changes",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"},
    ],
)
def test_what_cannot_be_honoured_stops_the_process(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="OTEL_"):
        trace_target({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", **changes})


def test_the_variable_that_is_wrong_is_named() -> None:
    with pytest.raises(InvalidSettings, match="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        trace_target({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "c:4318"})


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_protocols_over_http_are_taken(protocol: str) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    assert trace_target(env) is not None
