"""Every RPC of the data path and of membership as a typed callable; nobody beyond `wire` sees a generated message.

Calls that carry a deadline need the local clock: it is passed as `now_s` and deadlines cross as seconds left.
"""

from collections.abc import Callable

import grpc

from penstock.wire import encode_messages as e
from penstock.wire import messages as m
from penstock.wire.codec import decode, encoder, link, prefill, scheduler
from penstock.wire.method import Method, StreamHandler, UnaryHandler, add_service
from penstock.wire.v1 import decode_pb2, encoder_pb2, prefill_pb2, scheduler_pb2

Now = Callable[[], float]


def _prefill_serve(now_s: Now) -> Method[m.PrefillCalls, m.PrefillEvents]:
    return Method(
        "Prefill",
        "Serve",
        lambda calls: prefill.calls_to_wire(calls, now_s()),
        lambda data: prefill.calls_from_wire(prefill_pb2.PrefillCalls.FromString(data), now_s()),
        prefill.events_to_wire,
        lambda data: prefill.events_from_wire(prefill_pb2.PrefillEvents.FromString(data)),
    )


def _encoder_serve(now_s: Now) -> Method[e.EncodeCalls, e.EncodeEvents]:
    return Method(
        "Encoder",
        "Serve",
        lambda calls: encoder.calls_to_wire(calls, now_s()),
        lambda data: encoder.calls_from_wire(encoder_pb2.EncodeCalls.FromString(data), now_s()),
        encoder.events_to_wire,
        lambda data: encoder.events_from_wire(encoder_pb2.EncodeEvents.FromString(data)),
    )


def _link(service: str, now_s: Now) -> Method[m.LinkCalls, m.LinkEvents]:
    return Method(
        service,
        "Link",
        lambda calls: link.calls_to_wire(calls, now_s()),
        lambda data: link.calls_from_wire(decode_pb2.LinkCalls.FromString(data), now_s()),
        link.events_to_wire,
        lambda data: link.events_from_wire(decode_pb2.LinkEvents.FromString(data)),
    )


def _router_route(now_s: Now) -> Method[m.RouteCalls, m.RouteEvents]:
    return Method(
        "Router",
        "Route",
        scheduler.route_calls_to_wire,
        lambda data: scheduler.route_calls_from_wire(scheduler_pb2.RouteCalls.FromString(data)),
        lambda events: scheduler.route_events_to_wire(events, now_s()),
        lambda data: scheduler.route_events_from_wire(scheduler_pb2.RouteEvents.FromString(data), now_s()),
    )


_DECODE_STREAM: Method[m.DecodeCalls, m.StepOutputs] = Method(
    "Decode",
    "Stream",
    decode.calls_to_wire,
    lambda data: decode.calls_from_wire(decode_pb2.DecodeCalls.FromString(data)),
    decode.steps_to_wire,
    lambda data: decode.steps_from_wire(decode_pb2.StepOutputs.FromString(data)),
)
_ROUTER_HEARTBEAT: Method[m.HeartbeatRequest, m.HeartbeatResponse] = Method(
    "Router",
    "Heartbeat",
    scheduler.heartbeat_to_wire,
    lambda data: scheduler.heartbeat_from_wire(scheduler_pb2.HeartbeatRequest.FromString(data)),
    scheduler.heard_to_wire,
    lambda data: scheduler.heard_from_wire(scheduler_pb2.HeartbeatResponse.FromString(data)),
)
_MEMBERSHIP_REGISTER: Method[m.RegisterRequest, m.RegisterResponse] = Method(
    "Membership",
    "Register",
    scheduler.register_to_wire,
    lambda data: scheduler.register_from_wire(scheduler_pb2.RegisterRequest.FromString(data)),
    scheduler.registered_to_wire,
    lambda data: scheduler.registered_from_wire(scheduler_pb2.RegisterResponse.FromString(data)),
)
_MEMBERSHIP_JOIN: Method[m.JoinRequest, m.JoinResponse] = Method(
    "Membership",
    "Join",
    scheduler.join_to_wire,
    lambda data: scheduler.join_from_wire(scheduler_pb2.JoinRequest.FromString(data)),
    scheduler.joined_to_wire,
    lambda data: scheduler.joined_from_wire(scheduler_pb2.JoinResponse.FromString(data)),
)


# --- client side -----------------------------------------------------------------------------------------------------


def prefill_serve(
    channel: grpc.aio.Channel, now_s: Now
) -> "grpc.aio.StreamStreamMultiCallable[m.PrefillCalls, m.PrefillEvents]":
    return _prefill_serve(now_s).stream(channel)


def encoder_serve(
    channel: grpc.aio.Channel, now_s: Now
) -> "grpc.aio.StreamStreamMultiCallable[e.EncodeCalls, e.EncodeEvents]":
    return _encoder_serve(now_s).stream(channel)


def decode_stream(
    channel: grpc.aio.Channel,
) -> "grpc.aio.StreamStreamMultiCallable[m.DecodeCalls, m.StepOutputs]":
    return _DECODE_STREAM.stream(channel)


def decode_link(
    channel: grpc.aio.Channel, now_s: Now
) -> "grpc.aio.StreamStreamMultiCallable[m.LinkCalls, m.LinkEvents]":
    return _link("Decode", now_s).stream(channel)


def embeddings_link(
    channel: grpc.aio.Channel, now_s: Now
) -> "grpc.aio.StreamStreamMultiCallable[m.LinkCalls, m.LinkEvents]":
    return _link("Embeddings", now_s).stream(channel)


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


# --- server side -----------------------------------------------------------------------------------------------------


def add_prefill(server: grpc.aio.Server, serve: StreamHandler[m.PrefillCalls, m.PrefillEvents], now_s: Now) -> None:
    add_service(server, "Prefill", _prefill_serve(now_s).stream_handler(serve))


def add_encoder(server: grpc.aio.Server, serve: StreamHandler[e.EncodeCalls, e.EncodeEvents], now_s: Now) -> None:
    add_service(server, "Encoder", _encoder_serve(now_s).stream_handler(serve))


def add_decode(
    server: grpc.aio.Server,
    stream: StreamHandler[m.DecodeCalls, m.StepOutputs],
    link_up: StreamHandler[m.LinkCalls, m.LinkEvents],
    now_s: Now,
) -> None:
    add_service(server, "Decode", _DECODE_STREAM.stream_handler(stream), _link("Decode", now_s).stream_handler(link_up))


def add_embeddings(server: grpc.aio.Server, link_up: StreamHandler[m.LinkCalls, m.LinkEvents], now_s: Now) -> None:
    add_service(server, "Embeddings", _link("Embeddings", now_s).stream_handler(link_up))


def add_router(
    server: grpc.aio.Server,
    route: StreamHandler[m.RouteCalls, m.RouteEvents],
    heartbeat: UnaryHandler[m.HeartbeatRequest, m.HeartbeatResponse],
    now_s: Now,
) -> None:
    add_service(
        server, "Router", _router_route(now_s).stream_handler(route), _ROUTER_HEARTBEAT.unary_handler(heartbeat)
    )


def add_membership(
    server: grpc.aio.Server,
    register: UnaryHandler[m.RegisterRequest, m.RegisterResponse],
    join: UnaryHandler[m.JoinRequest, m.JoinResponse],
) -> None:
    add_service(
        server, "Membership", _MEMBERSHIP_REGISTER.unary_handler(register), _MEMBERSHIP_JOIN.unary_handler(join)
    )
