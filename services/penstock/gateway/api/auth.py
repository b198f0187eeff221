"""API keys: who may call, and which salt keeps a caller's prefixes apart from everyone else's."""

import hashlib
import hmac
from collections.abc import Sequence

from penstock.core.errors import NotAuthenticated


class ApiKeys:
    """The accepted bearer tokens; with none, everyone may call and all share one prefix cache."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def tenant_salt(self, authorization: str) -> bytes:
        """Check an Authorization header; the salt of its tenant's prefix hashes, b"" where there are no keys."""
        if not self._keys:
            return b""
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode()
        # every key is compared in full, so the time taken tells nothing about any of them
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        if scheme.lower() != "bearer" or not any(matches):
            raise NotAuthenticated("Incorrect or missing API key; send it as 'Authorization: Bearer KEY'.")
        return hashlib.blake2b(given, digest_size=16, person=b"penstock-tenant").digest()
