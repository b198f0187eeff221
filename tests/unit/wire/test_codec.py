"""Every message through the serialisers of its RPC: what one side says is what the other hears."""

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

import pytest

from penstock.core.blocks import hash_blocks
from penstock.core.errors import BlocksExhausted, DeadlineExceeded, InternalError, NoWorkers, PenstockError, WorkerLost
from penstock.core.kv_layout import KvLayout, TransferEndpoint
from penstock.core.types import (
    Candidate,
    FinishReason,
    Request,
    Role,
    RouteQuery,
    RoutingDecision,
    SampledToken,
    SamplingParams,
    TokenLogprobs,
    WorkerRef,
    WorkerState,
)
from penstock.wire import messages as m
from penstock.wire import stubs

HELLO = m.Hello("gateway-1", (1 << 64) - 1, 1 << 63)
REF = WorkerRef("prefill-0", (1 << 64) - 2, "10.0.0.1:5000")
SPANS = (m.StageSpan("queue", 1.5, 0.25), m.StageSpan("prefill", 0.25, 0.0))
LOGPROBS = TokenLogprobs(-0.5, (1, 2), (-0.5, -1.25))
REQUEST = Request(
    request_id="r-1",
    attempt=2,
    gateway_id="gateway-1",
    handle=(1 << 64) - 1,
    prompt_token_ids=(1, 2, 151_935),
    sampling=SamplingParams(
        temperature=0.7,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        presence_penalty=-0.3,
        frequency_penalty=0.4,
        repetition_penalty=1.1,
        logit_bias=((7, -100.0), (8, 0.5)),
        seed=(1 << 64) - 1,
        max_tokens=100,
        min_tokens=3,
        stop_token_ids=(9, 10),
        ignore_eos=True,
        num_logprobs=0,
    ),
    output_token_ids=(11, 12),
    block_hashes=tuple(hash_blocks(range(40))),
    first_token_deadline_s=130.0,
    priority=-5,
    traceparent="00-aa-bb-01",
)
PLAIN_REQUEST = Request("r", 0, "g", 0, (1,), SamplingParams())
STATE = WorkerState(
    ref=REF,
    role=Role.MIXED,
    group="g",
    model="model",
    revision="abc",
    metrics_address="10.0.0.1:9000",
    block_size=32,
    num_blocks=1000,
    num_free_blocks=900,
    num_waiting=1,
    num_running=2,
    max_num_sequences=128,
    num_prefill_tokens=3,
    num_context_tokens=4,
    prefill_base_s=0.002,
    prefill_s_per_token=0.0001,
    token_interval_s=0.03,
    is_draining=True,
    transports=(("decode-0", "ucx"), ("decode-1", "tcp")),
    version="0.1.0",
)
LAYOUT = KvLayout(24, 8, 128, 32, 1000, 2, "bfloat16", tp_rank=1, tp_size=2)
CANDIDATE = Candidate(REF, 0.5, 64)

_serve: Any = object()  # a handler: only serialisers are called here
Call = Callable[..., Any]
RPCS: dict[str, tuple[Call, Call]] = {  # client stub of a channel and clock; service of a server and clock
    "Prefill/Serve": (stubs.prefill_serve, lambda server, now_s: stubs.add_prefill(server, _serve, now_s)),
    "Decode/Stream": (
        lambda channel, _: stubs.decode_stream(channel),
        lambda server, now_s: stubs.add_decode(server, _serve, _serve, now_s),
    ),
    "Decode/Link": (stubs.decode_link, lambda server, now_s: stubs.add_decode(server, _serve, _serve, now_s)),
    "Router/Route": (
        stubs.router_route,
        lambda server, now_s: stubs.add_router(server, _serve, _serve, now_s),
    ),
    "Router/Heartbeat": (
        lambda channel, _: stubs.router_heartbeat(channel),
        lambda server, now_s: stubs.add_router(server, _serve, _serve, now_s),
    ),
    "Membership/Register": (
        lambda channel, _: stubs.membership_register(channel),
        lambda server, _: stubs.add_membership(server, _serve, _serve),
    ),
    "Membership/Join": (
        lambda channel, _: stubs.membership_join(channel),
        lambda server, _: stubs.add_membership(server, _serve, _serve),
    ),
    "Worker/Drain": (
        lambda channel, _: stubs.worker_drain(channel),
        lambda server, _: stubs.add_worker(server, _serve, _serve),
    ),
    "Worker/Holdings": (
        lambda channel, _: stubs.worker_holdings(channel),
        lambda server, _: stubs.add_worker(server, _serve, _serve),
    ),
}
CALLS: list[tuple[str, Any]] = [
    ("Prefill/Serve", m.PrefillCalls()),
    ("Prefill/Serve", m.PrefillCalls(HELLO, (m.PrefillStart(REQUEST, (REF, REF)),), (1, 1 << 63))),
    ("Prefill/Serve", m.PrefillCalls(starts=(m.PrefillStart(PLAIN_REQUEST, ()),))),
    ("Decode/Stream", m.DecodeCalls()),
    ("Decode/Stream", m.DecodeCalls(HELLO, (1, 1 << 63))),
    ("Decode/Link", m.LinkCalls()),
    (
        "Decode/Link",
        m.LinkCalls(
            HELLO,
            (m.Reserve(1 << 63, "r", 2, "g", 1 << 63, 100, 50, tuple(hash_blocks(range(32)))),),
            (m.Commit(1 << 63, REQUEST),),
            (1, 2),
            (3, 4),
        ),
    ),
    ("Decode/Link", m.LinkCalls(reserves=(m.Reserve(0, "", 0, "", 0, 0, 0),), commits=(m.Commit(0, PLAIN_REQUEST),))),
    ("Router/Route", m.RouteCalls()),
    (
        "Router/Route",
        m.RouteCalls(HELLO, (RouteQuery("r", 10, 20, tuple(hash_blocks(range(16))), frozenset({"a", "b"})),)),
    ),
    ("Router/Route", m.RouteCalls(queries=(RouteQuery("r", 10, 20),))),
    ("Router/Heartbeat", m.HeartbeatRequest(STATE, tuple(hash_blocks(range(32))), tuple(hash_blocks(range(48))), True)),
    ("Router/Heartbeat", m.HeartbeatRequest(WorkerState(REF, Role.PREFILL))),
    ("Membership/Register", m.RegisterRequest(STATE)),
    ("Membership/Join", m.JoinRequest("gateway-1")),
    ("Worker/Drain", m.DrainRequest(2.5)),
    ("Worker/Holdings", m.HoldingsRequest()),
]
REPLIES: list[tuple[str, Any]] = [
    ("Prefill/Serve", m.PrefillEvents()),
    (
        "Prefill/Serve",
        m.PrefillEvents(
            (1, 1 << 63),
            (m.PrefillEnded(2, BlocksExhausted("Full.")),),
            (m.FirstToken(3, SampledToken(9, LOGPROBS), 32, FinishReason.STOP, SPANS),),
            (m.HandedOff(4, REF, SPANS),),
            (m.PrefillEnded(5, WorkerLost("Gone.")),),
            True,
        ),
    ),
    ("Prefill/Serve", m.PrefillEvents(first_tokens=(m.FirstToken(0, SampledToken(0)),))),
    ("Prefill/Serve", m.PrefillEvents(first_tokens=(m.FirstToken(0, SampledToken(0, TokenLogprobs(0.0))),))),
    ("Decode/Stream", m.StepOutputs(0)),
    (
        "Decode/Stream",
        m.StepOutputs(
            7,
            (1, 1 << 63),
            (0, 151_935),
            (0, 5),
            (
                m.Finished(1, FinishReason.LENGTH, None, SPANS),
                m.Finished(2, None, WorkerLost("Gone.")),
            ),
            ((1, LOGPROBS), (2, TokenLogprobs(-1.0))),
        ),
    ),
    ("Decode/Link", m.LinkEvents()),
    (
        "Decode/Link",
        m.LinkEvents(
            m.LinkWelcome(REF, (LAYOUT,), (TransferEndpoint("ucx", b"\0\xff", "host"),), "abc"),
            (m.Reserved(1 << 63, (5, 6), 32, 10.0),),
            (m.ReservationEnded(1, BlocksExhausted("Full.")),),
            (2, 3),
            (4,),
            True,
        ),
    ),
    ("Router/Route", m.RouteEvents()),
    (
        "Router/Route",
        m.RouteEvents(
            (
                m.RouteAnswer("r", RoutingDecision((CANDIDATE,), (CANDIDATE, Candidate(REF)), True)),
                m.RouteAnswer("s", RoutingDecision((CANDIDATE,), (), False)),
                m.RouteAnswer("t", error=NoWorkers("Nobody.")),
            ),
            m.MembershipView("g", (replace(STATE, heartbeat_s=95.0), WorkerState(REF, Role.DECODE))),
        ),
    ),
    ("Router/Heartbeat", m.HeartbeatResponse(True)),
    ("Router/Heartbeat", m.HeartbeatResponse(False)),
    ("Membership/Register", m.RegisterResponse("10.0.0.1:7000", 0.25)),
    ("Membership/Join", m.JoinResponse((("default", "10.0.0.1:7000"), ("long", "10.0.0.2:7000")))),
    ("Worker/Drain", m.DrainResponse(12)),
    ("Worker/Holdings", m.Holdings()),
    ("Worker/Holdings", m.Holdings(1, 2, 3, 4, 5, 6)),
]


class FakeChannel:
    """Remembers what a stub would put on the wire."""

    path = ""
    serialize: Callable[[Any], bytes]
    deserialize: Callable[[bytes], Any]

    def stream_stream(self, path: str, serialize: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]) -> None:
        self.path, self.serialize, self.deserialize = path, serialize, deserialize

    unary_unary = stream_stream


class FakeServer:
    def add_generic_rpc_handlers(self, handlers: tuple[Any]) -> None:
        [self.handler] = handlers

    def method(self, path: str) -> Any:
        class Details:
            method = path
            invocation_metadata = ()

        details: Any = Details()
        return self.handler.service(details)


def ends(rpc: str, client_now_s: float = 100.0, server_now_s: float = 100.0) -> tuple[FakeChannel, Any]:
    """Both ends of one RPC, each with its own clock."""
    call, add = RPCS[rpc]
    channel, server = FakeChannel(), FakeServer()
    call(channel, lambda: client_now_s)
    add(server, lambda: server_now_s)
    assert channel.path == f"/penstock.wire.v1.{rpc}"
    return channel, server.method(channel.path)


def plain(value: Any) -> Any:
    """Comparable: errors by code and sentence, every kind of list as a list."""
    if isinstance(value, PenstockError):
        return value.code, value.message
    if is_dataclass(value):
        return type(value), {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, str | bytes | int | float | frozenset | None):
        return value
    return [plain(item) for item in value]


@pytest.mark.parametrize(("rpc", "call"), CALLS)
def test_calls_arrive_as_they_were_sent(rpc: str, call: Any) -> None:
    channel, method = ends(rpc)
    assert plain(method.request_deserializer(channel.serialize(call))) == plain(call)


@pytest.mark.parametrize(("rpc", "reply"), REPLIES)
def test_replies_arrive_as_they_were_sent(rpc: str, reply: Any) -> None:
    channel, method = ends(rpc)
    assert plain(channel.deserialize(method.response_serializer(reply))) == plain(reply)


def test_the_examples_use_every_type_and_every_field() -> None:
    """A field that is forgotten on the way would show above; one that is forgotten here would not."""
    seen: dict[type, set[str]] = {}
    for _, message in CALLS + REPLIES:
        _note(message, seen)
    types = {value for value in vars(m).values() if is_dataclass(value) and value.__module__ == m.__name__}
    assert types <= seen.keys()
    left_out = {
        m.MembershipView: {"router_address"},  # the receiver's own
        RoutingDecision: {"encoders"},  # not on the wire yet
    }
    for kind, used in seen.items():
        assert {field.name for field in fields(kind)} - used == left_out.get(kind, set()), kind


def _note(value: Any, seen: dict[type, set[str]]) -> None:
    if is_dataclass(value):
        used = seen.setdefault(type(value), set())
        for field in fields(value):
            content = getattr(value, field.name)
            if field.default is MISSING or content != field.default:
                used.add(field.name)
            _note(content, seen)
    elif isinstance(value, tuple | list):
        for item in value:
            _note(item, seen)


@pytest.mark.parametrize("rpc", ["Prefill/Serve", "Decode/Link"])
@pytest.mark.parametrize(
    ("deadline_s", "arrives_s"), [(130.0, 5030.0), (90.0, 4990.0), (float("inf"), float("inf")), (100.0, 5000.0)]
)
def test_a_deadline_crosses_as_seconds_left(rpc: str, deadline_s: float, arrives_s: float) -> None:
    """The clocks of two hosts have nothing in common; one that has passed has passed at the other end too."""
    channel, method = ends(rpc, client_now_s=100.0, server_now_s=5000.0)
    request = Request("r", 0, "g", 0, (1,), SamplingParams(), first_token_deadline_s=deadline_s)
    if rpc == "Prefill/Serve":
        heard = method.request_deserializer(channel.serialize(m.PrefillCalls(starts=(m.PrefillStart(request, ()),))))
        arrived = heard.starts[0].request
    else:
        heard = method.request_deserializer(channel.serialize(m.LinkCalls(commits=(m.Commit(1, request),))))
        arrived = heard.commits[0].request
    assert arrived.first_token_deadline_s == arrives_s


def test_the_age_of_a_heartbeat_crosses_and_not_its_time() -> None:
    channel, method = ends("Router/Route", client_now_s=5000.0, server_now_s=100.0)
    view = m.MembershipView("g", (replace(STATE, heartbeat_s=97.5),))
    heard = channel.deserialize(method.response_serializer(m.RouteEvents(membership=view)))
    assert heard.membership.workers[0].heartbeat_s == 4997.5


@pytest.mark.parametrize("num_logprobs", [None, 0, 5])
def test_no_log_probabilities_and_none_beside_the_sampled_one_differ(num_logprobs: int | None) -> None:
    channel, method = ends("Prefill/Serve")
    request = Request("r", 0, "g", 0, (1,), SamplingParams(num_logprobs=num_logprobs))
    heard = method.request_deserializer(channel.serialize(m.PrefillCalls(starts=(m.PrefillStart(request, ()),))))
    assert heard.starts[0].request.sampling.num_logprobs == num_logprobs


def test_an_error_that_does_not_cross_as_itself_keeps_its_sentence() -> None:
    channel, method = ends("Decode/Stream")
    sent = m.StepOutputs(1, finished=(m.Finished(1, error=DeadlineExceeded("Too late.")),))
    [finished] = channel.deserialize(method.response_serializer(sent)).finished
    assert type(finished.error) is InternalError
    assert finished.error.message == "Too late."


def test_columns_of_a_step_may_be_joined_after_they_crossed() -> None:
    channel, method = ends("Decode/Stream")
    step = channel.deserialize(method.response_serializer(m.StepOutputs(1, (1, 2), (3, 4), (5, 6))))
    assert [*zip(step.handles, step.token_ids, step.positions, strict=True)] == [(1, 3, 5), (2, 4, 6)]
