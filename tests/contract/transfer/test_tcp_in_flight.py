"""A bit that flips on the wire, where TCP's own checksum would not see it."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from penstock.core.kv_layout import TransferEndpoint

FLIPPED_BYTE = 700_000  # of what the sender writes: inside the first payload


class FlippingProxy:
    """Passes bytes both ways and flips one bit on the way to the receiver, once."""

    def __init__(self, endpoint: TransferEndpoint) -> None:
        self._host, self._port = endpoint.address.decode().rsplit(":", 1)
        self._endpoint = endpoint
        self._num_passed = 0

    async def start(self) -> TransferEndpoint:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return replace(self._endpoint, address=f"127.0.0.1:{port}".encode())

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(self._host, self._port)
        with suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, other_writer, True), self._pass(other_reader, writer, False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, does_flip: bool) -> None:
        while data := bytearray(await reader.read(65536)):
            if does_flip and self._num_passed <= FLIPPED_BYTE < self._num_passed + len(data):
                data[FLIPPED_BYTE - self._num_passed] ^= 4
            self._num_passed += len(data) if does_flip else 0
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("transport", ["tcp"], indirect=True)
async def test_a_bit_flipped_in_flight_is_noticed_and_sent_again(make_pair: Any) -> None:
    pair = await make_pair(is_large=True)
    proxy = FlippingProxy(pair.receiver.endpoints[0])
    endpoint = await proxy.start()
    pair.channel = await pair.sender.connect("decode-0", 11, pair.destinations, [endpoint])
    blocks = list(range(64))
    is_complete = pair.expect(blocks, 0, 1024)
    stats = await pair.push(blocks, blocks, range(1024))
    await is_complete.wait()
    assert stats.num_retries == 1
    pair.assert_arrived(blocks, blocks, range(1024))
    await pair.channel.close()
    await proxy.close()
