"""Mutual TLS between the processes: who they are, and whom they believe.

One folder a process, laid out as a Kubernetes TLS secret (cert-manager writes exactly these three files):

    tls.crt   this process's certificate, for servers and for clients, naming `penstock.internal`
    tls.key   its private key
    ca.crt    the authority that signed the certificates of all processes

Workers come and go at addresses that no certificate could list, so a peer is believed because the common authority
signed a certificate for the one name that only processes of this system get. Files are read once, at start: restart
the processes before their certificates end. KV transfers do not pass through gRPC and are not encrypted.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from penstock.core.errors import InvalidSettings

PEER_NAME = "penstock.internal"
_FILES = ("tls.crt", "tls.key", "ca.crt")


@dataclass(frozen=True, slots=True)
class Tls:
    """Credentials of one process, for both of its sides."""

    server: grpc.ServerCredentials
    client: grpc.ChannelCredentials


def load_tls(folder: str) -> Tls | None:
    """The credentials in `folder`; None when no folder is named. Raises InvalidSettings for ones that cannot work."""
    if not folder:
        return None
    paths = [Path(folder) / name for name in _FILES]
    try:
        certificate, key, authority = (path.read_bytes() for path in paths)
        _shake_hands_with_self(*map(str, paths))
    except OSError as error:  # an SSLError is one
        raise InvalidSettings("tls_folder", folder, _reason(error)) from error
    return Tls(
        server=grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True),
        client=grpc.ssl_channel_credentials(authority, key, certificate),
    )


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate would not be believed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"it does not hold a certificate, its key and its authority: {error.reason or error}"
    return f"{Path(error.filename or '').name} cannot be read: {error.strerror}"


def _shake_hands_with_self(certificate: str, key: str, authority: str) -> None:
    """A handshake in memory between both of our sides: what fails here would fail with every peer, and less clearly."""
    contexts = [ssl.SSLContext(protocol) for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)]
    for context in contexts:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[0].wrap_bio(to_client, to_server, server_hostname=PEER_NAME)
    server = contexts[1].wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
