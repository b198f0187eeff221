"""API keys: who may call, whom a call is counted as, and which salt keeps its prefixes apart from everyone else's."""

import hashlib
import hmac
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from penstock.core.errors import NotAuthenticated

MAX_NUM_TENANTS = 64  # that are told apart by what they say of themselves; without a bound, anyone could fill a disk
OTHERS = "other"
ANONYMOUS = "anonymous"

_NAMED_KEY = re.compile(r"([A-Za-z0-9._-]{1,64}):(.+)")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Tenant(NamedTuple):
    """Whom a request is counted as, and the salt of its prefix hashes."""

    name: str
    salt: bytes = b""


class ApiKeys:
    """The accepted bearer tokens, `KEY` or `TENANT:KEY`; with none, everyone may call and all share one prefix cache.

    A tenant is known by its key; without keys by its word, a header that a proxy in front may set. Those that are
    `expected` are told apart whoever came before them.
    """

    def __init__(self, keys: Sequence[str], expected: Collection[str] = ()) -> None:
        self._keys: list[tuple[str, bytes]] = []  # name, token
        for number, key in enumerate(keys, start=1):
            named = _NAMED_KEY.fullmatch(key)
            self._keys.append((named[1], named[2].encode()) if named else (f"key-{number}", key.encode()))
        self._expected = frozenset(expected)
        self._said: set[str] = set()  # other than those

    def tenant(self, authorization: str, said: str = "") -> Tenant:
        """Check an Authorization header. `said` is the caller's word for who it is."""
        if not self._keys:
            return Tenant(self._bounded(said))
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode()
        # every key is compared in full, so the time taken tells nothing about any of them
        names = [name for name, key in self._keys if hmac.compare_digest(given, key)]
        if scheme.lower() != "bearer" or not names:
            raise NotAuthenticated("Incorrect or missing API key; send it as 'Authorization: Bearer KEY'.")
        return Tenant(names[0], hashlib.blake2b(given, digest_size=16, person=b"penstock-tenant").digest())

    def _bounded(self, said: str) -> str:
        if not said:
            return ANONYMOUS
        if said not in self._expected and said not in self._said:
            if len(self._said) >= MAX_NUM_TENANTS or not _NAME.fullmatch(said):
                return OTHERS
            self._said.add(said)
        return said
