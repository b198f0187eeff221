"""Exports spans by OTLP over HTTP in its JSON encoding, which collectors, Jaeger and Tempo take on port 4318.

A thread of its own sends what has gathered, once a second; a collector that is away costs spans, never a request. The
standard variables are honoured: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_PROTOCOL,
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and _PROTOCOL, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER (and _ARG),
OTEL_SDK_DISABLED.
"""

import http.client
import logging
import threading
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

import orjson
from prometheus_client import CollectorRegistry

from penstock import __version__
from penstock.core.errors import InvalidSettings
from penstock.runtime import clock
from penstock.runtime.metrics import AtScrape, counter
from penstock.runtime.settings import otel_environment
from penstock.runtime.tracing import OFF, Attribute, FinishedSpan, Tracer

TRACES_PATH = "/v1/traces"
PROTOCOLS = ("http/json", "http/protobuf")
MAX_NUM_WAITING = 16384  # spans; more are dropped
MAX_NUM_PER_MESSAGE = 512
FLUSH_INTERVAL_S = 1.0
POST_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0  # the process is ending; a collector that does not answer must not hold it
SPANS = counter(
    "penstock_trace_spans_total", "spans", "Exported to the collector, by outcome: sent, lost.", ("outcome",)
)

_VALUE_NAMES: Mapping[type, str] = {str: "stringValue", float: "doubleValue", bool: "boolValue"}

log = logging.getLogger(__name__)

Post = Callable[[bytes], None]
"""Sends one message; raises OSError when it did not arrive."""


@dataclass(frozen=True, slots=True)
class TraceTarget:
    """Where spans go, what each says of its process, which share of new traces is recorded."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    resource: Mapping[str, str] = field(default_factory=dict)
    sampled_share: float = 1.0


def trace_target(env: Mapping[str, str]) -> TraceTarget | None:
    """From the standard variables; None: traces are off."""
    endpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    url = env.get(endpoint, "")
    if not url and (base := env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")):
        endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
        url = base.rstrip("/") + TRACES_PATH
    if not url or env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if not url.startswith(("http://", "https://")):
        raise InvalidSettings(endpoint, url, "must begin with http:// or https://")
    _check_protocol(env)
    return TraceTarget(
        url=url,
        headers=_pairs(env.get("OTEL_EXPORTER_OTLP_HEADERS", "")),
        resource=_pairs(env.get("OTEL_RESOURCE_ATTRIBUTES", "")),
        sampled_share=_sampled_share(env),
    )


def _check_protocol(env: Mapping[str, str]) -> None:
    """gRPC is not spoken. JSON is sent for http/protobuf too, the default of most SDKs: whoever sets that means the
    port for HTTP, and what listens there takes both.
    """
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    name = next((name for name in names if env.get(name)), "")
    if name and env[name] not in PROTOCOLS:
        raise InvalidSettings(
            name, env[name], f"must be {' or '.join(PROTOCOLS)}; the collector's port for HTTP is 4318"
        )


def _pairs(text: str) -> dict[str, str]:
    entries = (entry.partition("=") for entry in text.split(",") if "=" in entry)
    return {key.strip(): unquote(value.strip()) for key, _, value in entries}


def _sampled_share(env: Mapping[str, str]) -> float:
    """Of new traces; a trace begun elsewhere is recorded as its parent says, whichever sampler is named."""
    sampler = env.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").removeprefix("parentbased_")
    if sampler in ("always_on", "always_off"):
        return 1.0 if sampler == "always_on" else 0.0
    argument = env.get("OTEL_TRACES_SAMPLER_ARG", "1.0")
    if sampler != "traceidratio":
        raise InvalidSettings("OTEL_TRACES_SAMPLER", sampler, "must be always_on, always_off or traceidratio")
    try:
        share = float(argument)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise InvalidSettings("OTEL_TRACES_SAMPLER_ARG", argument, "must be a number from 0 to 1")
    return share


def post_to(target: TraceTarget) -> Post:
    """A POST of one message, without retries: the next one carries newer spans."""
    headers = {"Content-Type": "application/json", **target.headers}

    def post(body: bytes) -> None:
        request = urllib.request.Request(target.url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=POST_TIMEOUT_S) as answer:
                answer.read()
        except http.client.HTTPException as error:  # such as the greeting of a port for gRPC
            raise OSError(f"no HTTP answer: {error!r}") from error

    return post


class SpanExporter:
    """`put` is called on the event loop; a thread sends until `close`."""

    def __init__(self, resource: Mapping[str, str], post: Post, wall_offset_s: float) -> None:
        self.num_sent = 0
        self.num_lost = 0
        self._resource = {"attributes": _attributes(resource)}
        self._post = post
        self._offset_s = wall_offset_s  # wall clock less monotonic clock
        self._waiting: deque[FinishedSpan] = deque()
        self._is_closing = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, span: FinishedSpan) -> None:
        if len(self._waiting) < MAX_NUM_WAITING:
            self._waiting.append(span)
        else:
            self.num_lost += 1

    def close(self) -> None:
        """Send what is left, and end the thread."""
        self._is_closing.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def samples(self) -> list[tuple[tuple[str, ...], float]]:
        """Of `SPANS`."""
        return [(("sent",), self.num_sent), (("lost",), self.num_lost)]

    def _run(self) -> None:
        while not self._is_closing.wait(FLUSH_INTERVAL_S):
            self.flush()
        self.flush()

    def flush(self) -> None:
        while self._waiting:
            spans = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_NUM_PER_MESSAGE))]
            try:
                self._post(encode(self._resource, spans, self._offset_s))
            except OSError as error:
                self.num_lost += len(spans)
                self._say(f"traces cannot be exported: {error}")
                continue
            self.num_sent += len(spans)
            self._is_failing = False

    def _say(self, sentence: str) -> None:
        """Once is enough."""
        log.log(logging.DEBUG if self._is_failing else logging.WARNING, "%s", sentence)
        self._is_failing = True


def encode(resource: Mapping[str, object], spans: Sequence[FinishedSpan], wall_offset_s: float) -> bytes:
    """An ExportTraceServiceRequest in OTLP's JSON: ids in hexadecimal, 64-bit numbers as text."""
    encoded = [_encoded(span, wall_offset_s) for span in spans]
    scope = {"scope": {"name": "penstock"}, "spans": encoded}
    return orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


def _encoded(span: FinishedSpan, wall_offset_s: float) -> dict[str, object]:
    context = span.context
    encoded: dict[str, object] = {
        "traceId": context.trace_id,
        "spanId": context.span_id,
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(int((span.began_s + wall_offset_s) * 1e9)),
        "endTimeUnixNano": str(int((span.ended_s + wall_offset_s) * 1e9)),
        "attributes": _attributes(span.attributes),
    }
    if context.parent_id:
        encoded["parentSpanId"] = context.parent_id
    if span.error:
        encoded["status"] = {"code": 2, "message": span.error}
    return encoded


def _attributes(values: Mapping[str, Attribute]) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Attribute) -> dict[str, object]:
    kind = type(value)
    if kind is int:
        return {"intValue": str(value)}
    if isinstance(value, tuple):
        return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    return {_VALUE_NAMES[kind]: value}


@contextmanager
def tracing(service: str, instance: str, registry: CollectorRegistry) -> Iterator[Tracer]:
    """The tracer of a process; off unless the environment names a collector."""
    target = trace_target(otel_environment())
    if target is None:
        yield OFF
        return
    resource = {
        "service.name": f"penstock-{service}",
        "service.namespace": "penstock",
        "service.instance.id": instance,
        "service.version": __version__,
        **target.resource,
    }
    exporter = SpanExporter(resource, post_to(target), clock.wall_s() - clock.now_s())
    exporter.start()
    registry.register(AtScrape(SPANS, exporter.samples))
    log.info("traces go to %s", target.url)
    try:
        yield Tracer(exporter.put, target.sampled_share)
    finally:
        exporter.close()
