"""Every RPC as a typed callable, on both sides; nobody beyond `wire` ever sees a generated message.

Calls that carry a deadline need the local clock: it is passed as `now_s` and deadlines cross as seconds left.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from penstock.wire import messages as m
from penstock.wire.codec import decode, link, prefill, scheduler, worker
from penstock.wire.v1 import decode_pb2, prefill_pb2, scheduler_pb2, worker_pb2

Call = TypeVar("Call")
Reply = TypeVar("Reply")
Now = Callable[[], float]
StreamHandler = Callable[[AsyncIterator[Call], "grpc.aio.ServicerContext[Any, Any]"], AsyncIterator[Reply]]
UnaryHandler = Callable[[Call, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Reply]]
NamedHandler = tuple[str, "grpc.RpcMethodHandler[Any, Any]"]
PACKAGE = "penstock.wire.v1"


@dataclass(frozen=True, slots=True)
class _Method(Generic[Call, Reply]):
    """One RPC: its path, and how both directions become bytes and types again."""

    service: str
    name: str
    encode_call: Callable[[Call], Message]
    decode_call: Callable[[bytes], Call]
    encode_reply: Callable[[Reply], Message]
    decode_reply: Callable[[bytes], Reply]

    @property
    def path(self) -> str:
        return f"/{PACKAGE}.{self.service}/{self.name}"

    def serialize_call(self, call: Call) -> bytes:
        return self.encode_call(call).SerializeToString()

    def serialize_reply(self, reply: Reply) -> bytes:
        return self.encode_reply(reply).SerializeToString()

    def stream(self, channel: grpc.aio.Channel) -> "grpc.aio.StreamStreamMultiCallable[Call, Reply]":
        return channel.stream_stream(self.path, self.serialize_call, self.decode_reply)

    def unary(self, channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[Call, Reply]":
        return channel.unary_unary(self.path, self.serialize_call, self.decode_reply)

    def stream_handler(self, handler: StreamHandler[Call, Reply]) -> NamedHandler:
        return self.name, grpc.stream_stream_rpc_method_handler(
            handler,
            self.decode_call,
            self.serialize_reply,
        )

    def unary_handler(self, handler: UnaryHandler[Call, Reply]) -> NamedHandler:
        return self.name, grpc.unary_unary_rpc_method_handler(
            handler,
            self.decode_call,
            self.serialize_reply,
        )


def _prefill_serve(now_s: Now) -> _Method[m.PrefillCalls, m.PrefillEvents]:
    return _Method(
        "Prefill",
        "Serve",
        lambda calls: prefill.calls_to_wire(calls, now_s()),
        lambda data: prefill.calls_from_wire(prefill_pb2.PrefillCalls.FromString(data), now_s()),
        prefill.events_to_wire,
        lambda data: prefill.events_from_wire(prefill_pb2.PrefillEvents.FromString(data)),
    )


def _decode_link(now_s: Now) -> _Method[m.LinkCalls, m.LinkEvents]:
    return _Method(
        "Decode",
        "Link",
        lambda calls: link.calls_to_wire(calls, now_s()),
        lambda data: link.calls_from_wire(decode_pb2.LinkCalls.FromString(data), now_s()),
        link.events_to_wire,
        lambda data: link.events_from_wire(decode_pb2.LinkEvents.FromString(data)),
    )


def _router_route(now_s: Now) -> _Method[m.RouteCalls, m.RouteEvents]:
    return _Method(
        "Router",
        "Route",
        scheduler.route_calls_to_wire,
        lambda data: scheduler.route_calls_from_wire(scheduler_pb2.RouteCalls.FromString(data)),
        lambda events: scheduler.route_events_to_wire(events, now_s()),
        lambda data: scheduler.route_events_from_wire(scheduler_pb2.RouteEvents.FromString(data), now_s()),
    )


_DECODE_STREAM: _Method[m.DecodeCalls, m.StepOutputs] = _Method(
    "Decode",
    "Stream",
    decode.calls_to_wire,
    lambda data: decode.calls_from_wire(decode_pb2.DecodeCalls.FromString(data)),
    decode.steps_to_wire,
    lambda data: decode.steps_from_wire(decode_pb2.StepOutputs.FromString(data)),
)
_ROUTER_HEARTBEAT: _Method[m.HeartbeatRequest, m.HeartbeatResponse] = _Method(
    "Router",
    "Heartbeat",
    scheduler.heartbeat_to_wire,
    lambda data: scheduler.heartbeat_from_wire(scheduler_pb2.HeartbeatRequest.FromString(data)),
    scheduler.heard_to_wire,
    lambda data: scheduler.heard_from_wire(scheduler_pb2.HeartbeatResponse.FromString(data)),
)
_MEMBERSHIP_REGISTER: _Method[m.RegisterRequest, m.RegisterResponse] = _Method(
    "Membership",
    "Register",
    scheduler.register_to_wire,
    lambda data: scheduler.register_from_wire(scheduler_pb2.RegisterRequest.FromString(data)),
    scheduler.registered_to_wire,
    lambda data: scheduler.registered_from_wire(scheduler_pb2.RegisterResponse.FromString(data)),
)
_MEMBERSHIP_JOIN: _Method[m.JoinRequest, m.JoinResponse] = _Method(
    "Membership",
    "Join",
    scheduler.join_to_wire,
    lambda data: scheduler.join_from_wire(scheduler_pb2.JoinRequest.FromString(data)),
    scheduler.joined_to_wire,
    lambda data: scheduler.joined_from_wire(scheduler_pb2.JoinResponse.FromString(data)),
)
_WORKER_DRAIN: _Method[m.DrainRequest, m.DrainResponse] = _Method(
    "Worker",
    "Drain",
    worker.drain_to_wire,
    lambda data: worker.drain_from_wire(worker_pb2.DrainRequest.FromString(data)),
    worker.drained_to_wire,
    lambda data: worker.drained_from_wire(worker_pb2.DrainResponse.FromString(data)),
)
_WORKER_HOLDINGS: _Method[m.HoldingsRequest, m.Holdings] = _Method(
    "Worker",
    "Holdings",
    worker.ask_holdings_to_wire,
    lambda data: worker.ask_holdings_from_wire(worker_pb2.HoldingsRequest.FromString(data)),
    worker.holdings_to_wire,
    lambda data: worker.holdings_from_wire(worker_pb2.HoldingsResponse.FromString(data)),
)


# --- client side -----------------------------------------------------------------------------------------------------


def prefill_serve(
    channel: grpc.aio.Channel, now_s: Now
) -> "grpc.aio.StreamStreamMultiCallable[m.PrefillCalls, m.PrefillEvents]":
    return _prefill_serve(now_s).stream(channel)


def decode_stream(
    channel: grpc.aio.Channel,
) -> "grpc.aio.StreamStreamMultiCallable[m.DecodeCalls, m.StepOutputs]":
    return _DECODE_STREAM.stream(channel)


def decode_link(
    channel: grpc.aio.Channel, now_s: Now
) -> "grpc.aio.StreamStreamMultiCallable[m.LinkCalls, m.LinkEvents]":
    return _decode_link(now_s).stream(channel)


def router_route(
    channel: grpc.aio.Channel, now_s: Now
) -> "grpc.aio.StreamStreamMultiCallable[m.RouteCalls, m.RouteEvents]":
    return _router_route(now_s).stream(channel)


def router_heartbeat(
    channel: grpc.aio.Channel,
) -> "grpc.aio.UnaryUnaryMultiCallable[m.HeartbeatRequest, m.HeartbeatResponse]":
    return _ROUTER_HEARTBEAT.unary(channel)


def membership_register(
    channel: grpc.aio.Channel,
) -> "grpc.aio.UnaryUnaryMultiCallable[m.RegisterRequest, m.RegisterResponse]":
    return _MEMBERSHIP_REGISTER.unary(channel)


def membership_join(channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[m.JoinRequest, m.JoinResponse]":
    return _MEMBERSHIP_JOIN.unary(channel)


def worker_drain(channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[m.DrainRequest, m.DrainResponse]":
    return _WORKER_DRAIN.unary(channel)


def worker_holdings(channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[m.HoldingsRequest, m.Holdings]":
    return _WORKER_HOLDINGS.unary(channel)


# --- server side -----------------------------------------------------------------------------------------------------


def _add(server: grpc.aio.Server, service: str, *handlers: NamedHandler) -> None:
    handler = grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", dict(handlers))
    server.add_generic_rpc_handlers((handler,))


def add_prefill(server: grpc.aio.Server, serve: StreamHandler[m.PrefillCalls, m.PrefillEvents], now_s: Now) -> None:
    _add(server, "Prefill", _prefill_serve(now_s).stream_handler(serve))


def add_decode(
    server: grpc.aio.Server,
    stream: StreamHandler[m.DecodeCalls, m.StepOutputs],
    link_up: StreamHandler[m.LinkCalls, m.LinkEvents],
    now_s: Now,
) -> None:
    _add(server, "Decode", _DECODE_STREAM.stream_handler(stream), _decode_link(now_s).stream_handler(link_up))


def add_router(
    server: grpc.aio.Server,
    route: StreamHandler[m.RouteCalls, m.RouteEvents],
    heartbeat: UnaryHandler[m.HeartbeatRequest, m.HeartbeatResponse],
    now_s: Now,
) -> None:
    _add(server, "Router", _router_route(now_s).stream_handler(route), _ROUTER_HEARTBEAT.unary_handler(heartbeat))


def add_membership(
    server: grpc.aio.Server,
    register: UnaryHandler[m.RegisterRequest, m.RegisterResponse],
    join: UnaryHandler[m.JoinRequest, m.JoinResponse],
) -> None:
    _add(server, "Membership", _MEMBERSHIP_REGISTER.unary_handler(register), _MEMBERSHIP_JOIN.unary_handler(join))


def add_worker(
    server: grpc.aio.Server,
    drain: UnaryHandler[m.DrainRequest, m.DrainResponse],
    holdings: UnaryHandler[m.HoldingsRequest, m.Holdings],
) -> None:
    _add(server, "Worker", _WORKER_DRAIN.unary_handler(drain), _WORKER_HOLDINGS.unary_handler(holdings))
