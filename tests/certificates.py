"""Certificates for tests of TLS, signed by authorities that live as long as the test."""

from pathlib import Path

import trustme

from penstock.runtime.tls import PEER_NAME


def write_folder(folder: Path, authority: trustme.CA, name: str = PEER_NAME) -> str:
    """One process's folder, as cert-manager would write it."""
    folder.mkdir(parents=True)
    issued = authority.issue_cert(name)
    (folder / "tls.crt").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    (folder / "tls.key").write_bytes(issued.private_key_pem.bytes())
    (folder / "ca.crt").write_bytes(authority.cert_pem.bytes())
    return str(folder)
