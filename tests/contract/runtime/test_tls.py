"""Mutual TLS over loopback, with authorities made here: who is believed, and what is refused at start."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from penstock.core.errors import InvalidSettings, PenstockError
from penstock.runtime import rpc
from penstock.runtime.channel import Channels
from penstock.runtime.server import RpcServer
from penstock.runtime.tls import PEER_NAME, load_tls
from tests.certificates import write_folder

Handler = Callable[[bytes, Any], Awaitable[bytes]]


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def ask(server_folder: str, client_folder: str) -> bytes:
    """One call between two processes with these folders; an empty name is plain text."""
    server, channels = RpcServer(load_tls(server_folder)), Channels(load_tls(client_folder))
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Call": grpc.unary_unary_rpc_method_handler(echo)}
    handlers = grpc.method_handlers_generic_handler("test.Test", methods)
    server.add(lambda it: it.add_generic_rpc_handlers((handlers,)))
    try:
        channel: Any = channels.get(await server.start("127.0.0.1:0"))
        answer: bytes = await rpc.call(channel.unary_unary("/test.Test/Call"), b"hello", timeout_s=5.0)
        return answer
    finally:
        await channels.close()
        await server.stop(0)


async def test_two_processes_of_one_authority_talk_at_any_address(tmp_path: Path) -> None:
    authority = trustme.CA()
    folders = [write_folder(tmp_path / name, authority) for name in ("gateway", "worker")]
    assert await ask(*folders) == b"hello"


@pytest.mark.parametrize("client", ["stranger", ""])
async def test_a_server_refuses_strangers_and_plain_text(tmp_path: Path, client: str) -> None:
    server = write_folder(tmp_path / "worker", trustme.CA())
    folder = write_folder(tmp_path / client, trustme.CA()) if client else ""
    with pytest.raises(PenstockError):
        await ask(server, folder)


async def test_a_client_refuses_a_server_without_tls(tmp_path: Path) -> None:
    with pytest.raises(PenstockError):
        await ask("", write_folder(tmp_path / "gateway", trustme.CA()))


def spoil_key(folder: Path) -> None:
    (folder / "tls.key").write_bytes(trustme.CA().issue_cert(PEER_NAME).private_key_pem.bytes())


def spoil_authority(folder: Path) -> None:
    (folder / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        (PEER_NAME, lambda folder: (folder / "tls.key").unlink(), "tls.key cannot be read"),
        (PEER_NAME, lambda folder: (folder / "ca.crt").write_text("nothing"), "does not hold a certificate"),
        (PEER_NAME, spoil_key, "does not hold a certificate, its key"),
        (PEER_NAME, spoil_authority, "would not be believed"),
        ("elsewhere.example", lambda folder: None, "would not be believed"),
    ],
    ids=["no key", "no authority", "another key", "another authority", "another name"],
)
def test_a_folder_that_no_peer_would_believe_stops_the_process(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], reason: str
) -> None:
    folder = write_folder(tmp_path / "worker", trustme.CA(), name)
    spoil(Path(folder))
    with pytest.raises(InvalidSettings, match=reason):
        load_tls(folder)
