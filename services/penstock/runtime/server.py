"""The gRPC server of a process, with the standard health service."""

from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from penstock.core.errors import InvalidSettings
from penstock.runtime.channel import KEEPALIVE_TIME_S, MAX_MESSAGE_BYTES
from penstock.runtime.tls import Tls

_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Clients ping idle connections; by default the server takes that for an attack and hangs up.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", int(KEEPALIVE_TIME_S * 1000 / 2)),
    # Two servers on one port would each get half of the calls, and neither would say so.
    ("grpc.so_reuseport", 0),
)


class RpcServer:
    """Register services, start, say when they may be called, stop."""

    def __init__(self, tls: Tls | None = None) -> None:
        self.is_serving = False
        self._tls = tls
        self._server = grpc.aio.server(options=_OPTIONS)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def add(self, register: Callable[[grpc.aio.Server], None]) -> None:
        """Let `register` add its handlers; before `start`."""
        register(self._server)

    async def start(self, address: str) -> str:
        """Listen on host:port (port 0: any free one) and return the address actually bound. Not yet healthy."""
        host, separator, port = address.rpartition(":")
        if not separator or not port.isdigit():
            raise InvalidSettings("address", address, "must be host:port")
        try:
            if self._tls is None:
                bound_port = self._server.add_insecure_port(address)
            else:
                bound_port = self._server.add_secure_port(address, self._tls.server)
        except RuntimeError as error:
            raise InvalidSettings("address", address, "cannot listen there; is the port in use?") from error
        await self._server.start()
        await self.set_serving(False)
        return f"{host}:{bound_port}"

    async def set_serving(self, is_serving: bool) -> None:
        """What the health service answers from now on."""
        self.is_serving = is_serving
        status = health_pb2.HealthCheckResponse
        await self._health.set("", status.SERVING if is_serving else status.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls at once; cancel those still running after `grace_s`."""
        self.is_serving = False
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
