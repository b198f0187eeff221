"""gRPC client channels: one per address, kept for the life of the process, quick to notice a dead peer."""

import grpc

from penstock.runtime.tls import PEER_NAME, Tls

MAX_MESSAGE_BYTES = 64 * 2**20

# A host that vanishes sends no reset: a ping every 5 s, unanswered for 3 s, ends its streams.
KEEPALIVE_TIME_S = 5.0
KEEPALIVE_TIMEOUT_S = 3.0

_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_TIME_S * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT_S * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A restarted worker comes back at the same address and must be found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Retries are decided by `rpc.call` and by the gateway, which know what is safe to repeat.
    ("grpc.enable_retries", 0),
    # Without this, gRPC shares connections (and their backoff state) between unrelated owners in one process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


class Channels:
    """Channels by address, made on first use. A channel reconnects by itself; nobody needs to replace it."""

    def __init__(self, tls: Tls | None = None) -> None:
        self._tls = tls
        self._channels: dict[str, grpc.aio.Channel] = {}

    def get(self, address: str) -> grpc.aio.Channel:
        """The channel to `address` (host:port); connects lazily."""
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = self._open(address)
        return channel

    def _open(self, address: str) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(address, options=_OPTIONS)
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", PEER_NAME))
        return grpc.aio.secure_channel(address, self._tls.client, options=options)

    async def close(self) -> None:
        """Close every channel, cancelling what is still in flight."""
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close(None)
