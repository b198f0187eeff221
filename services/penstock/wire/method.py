"""One RPC as a typed callable, on both sides: its path, and how both directions become bytes and types again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

Call = TypeVar("Call")
Reply = TypeVar("Reply")
StreamHandler = Callable[[AsyncIterator[Call], "grpc.aio.ServicerContext[Any, Any]"], AsyncIterator[Reply]]
UnaryHandler = Callable[[Call, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Reply]]
NamedHandler = tuple[str, "grpc.RpcMethodHandler[Any, Any]"]
PACKAGE = "penstock.wire.v1"


@dataclass(frozen=True, slots=True)
class Method(Generic[Call, Reply]):
    """A client makes a callable of a channel, a server a handler of a function."""

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


def add_service(server: grpc.aio.Server, service: str, *handlers: NamedHandler) -> None:
    """Let `server` answer calls of one service."""
    handler = grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", dict(handlers))
    server.add_generic_rpc_handlers((handler,))
