"""Both ends of every RPC, without a channel between them: a client stub's serialisers and its service's."""

from collections.abc import Callable
from typing import Any

from penstock.wire import control_stubs, stubs

_serve: Any = object()  # a handler: only serialisers are called here
Call = Callable[..., Any]
RPCS: dict[str, tuple[Call, Call]] = {  # client stub of a channel and clock; service of a server and clock
    "Prefill/Serve": (stubs.prefill_serve, lambda server, now_s: stubs.add_prefill(server, _serve, now_s)),
    "Encoder/Serve": (stubs.encoder_serve, lambda server, now_s: stubs.add_encoder(server, _serve, now_s)),
    "Decode/Stream": (
        lambda channel, _: stubs.decode_stream(channel),
        lambda server, now_s: stubs.add_decode(server, _serve, _serve, now_s),
    ),
    "Decode/Link": (stubs.decode_link, lambda server, now_s: stubs.add_decode(server, _serve, _serve, now_s)),
    "Embeddings/Link": (
        stubs.embeddings_link,
        lambda server, now_s: stubs.add_embeddings(server, _serve, now_s),
    ),
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
    **{
        f"Control/{method.name}": (
            lambda channel, _, method=method: method.unary(channel),
            lambda server, _: control_stubs.add_control(server, _serve, _serve, _serve, _serve),
        )
        for method in (
            control_stubs.CONTROL_SCALE,
            control_stubs.CONTROL_FLIP,
            control_stubs.CONTROL_STEER,
            control_stubs.CONTROL_ROLLOUT,
        )
    },
    **{
        f"Pools/{method.name}": (
            lambda channel, _, method=method: method.unary(channel),
            lambda server, _: control_stubs.add_pools(server, _serve, _serve, _serve),
        )
        for method in (control_stubs.POOLS_GROW, control_stubs.POOLS_SHRINK, control_stubs.POOLS_RESTART)
    },
    **{
        f"Worker/{method.name}": (
            lambda channel, _, method=method: method.unary(channel),
            lambda server, _: control_stubs.add_worker(server, _serve, _serve, _serve),
        )
        for method in (control_stubs.WORKER_DRAIN, control_stubs.WORKER_FLIP, control_stubs.WORKER_HOLDINGS)
    },
}


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
