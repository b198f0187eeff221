"""Server, channels and calls against each other, over loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.core.errors import InternalError, InvalidSettings, PenstockError, QueueFull, WorkerLost
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.runtime.server import RpcServer

Handler = Callable[[bytes, Any], Awaitable[bytes]]


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    channels = Channels()
    yield channels
    await channels.close()


@pytest.fixture
async def start() -> AsyncIterator[Callable[[Handler, str], Awaitable[tuple[RpcServer, str]]]]:
    servers: list[RpcServer] = []

    async def start(handler: Handler, address: str = "127.0.0.1:0") -> tuple[RpcServer, str]:
        server = RpcServer()
        servers.append(server)
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Call": grpc.unary_unary_rpc_method_handler(handler)}
        generic = grpc.method_handlers_generic_handler("test.Test", methods)
        server.add(lambda it: it.add_generic_rpc_handlers((generic,)))
        return server, await server.start(address)

    yield start
    for server in servers:
        await server.stop(0)


async def echo(request: bytes, context: Any) -> bytes:
    return request


def method_of(channel: Any) -> Any:
    return channel.unary_unary("/test.Test/Call")


async def call(channels: Channels, address: str, **options: Any) -> bytes:
    method = method_of(channels.get(address))
    answer: bytes = await rpc.call(method, b"hello", **{"timeout_s": 5.0, **options})
    return answer


async def test_a_call_is_answered_and_port_0_takes_a_free_port(channels: Channels, start: Any) -> None:
    _, address = await start(echo)
    assert not address.endswith(":0")
    assert await call(channels, address) == b"hello"
    assert channels.get(address) is channels.get(address)


async def test_an_error_of_our_tree_arrives_as_itself(channels: Channels, start: Any) -> None:
    async def refuse(request: bytes, context: Any) -> bytes:
        await rpc.abort(context, QueueFull("12 requests wait"))

    _, address = await start(refuse)
    with pytest.raises(QueueFull, match="12 requests wait"):
        await call(channels, address)


async def test_a_bug_in_a_handler_is_an_internal_error(channels: Channels, start: Any) -> None:
    async def fail(request: bytes, context: Any) -> bytes:
        raise ValueError("a bug")

    _, address = await start(fail)
    with pytest.raises(InternalError, match="a bug"):
        await call(channels, address)


@pytest.mark.parametrize("retries", [0, 2])
async def test_nobody_there_is_a_lost_worker_within_the_deadline(channels: Channels, start: Any, retries: int) -> None:
    server, address = await start(echo)
    await server.stop(0)
    with pytest.raises(WorkerLost):
        await call(channels, address, timeout_s=0.5, retries=retries)


async def test_a_retry_finds_the_restarted_peer(channels: Channels, start: Any) -> None:
    server, address = await start(echo)
    await call(channels, address)
    await server.stop(0)
    with pytest.raises(WorkerLost):
        await call(channels, address)
    await start(echo, address)
    assert await call(channels, address, retries=1) == b"hello"


async def test_health_follows_set_serving(channels: Channels, start: Any) -> None:
    server, address = await start(echo)
    stub: Any = health_pb2_grpc.HealthStub(channels.get(address))
    status = health_pb2.HealthCheckResponse
    for is_serving, expected in ((None, status.NOT_SERVING), (True, status.SERVING), (False, status.NOT_SERVING)):
        if is_serving is not None:
            await server.set_serving(is_serving)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == expected


async def test_a_taken_port_or_a_bad_address_is_refused_by_name(start: Any) -> None:
    _, address = await start(echo)
    for bad in (address, "127.0.0.1", "127.0.0.1:http"):
        with pytest.raises(InvalidSettings, match="address"):
            await RpcServer().start(bad)


async def test_closed_channels_cancel_their_calls(channels: Channels, start: Any) -> None:
    _, address = await start(echo)
    first = channels.get(address)
    await channels.close()
    assert channels.get(address) is not first
    with pytest.raises((PenstockError, grpc.aio.UsageError)):
        await rpc.call(method_of(first), b"", timeout_s=1.0)
