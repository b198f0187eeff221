"""Image files from http(s) URLs that clients name: within limits, and never from where clients must not reach.

A name is resolved once, its addresses are checked, and the connection goes to a checked address: what DNS says a moment
later does not matter. TLS still asks for the certificate of the name. Every redirect begins anew.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from penstock.core.errors import UnreadableImage

MAX_NUM_REDIRECTS = 3
MAX_NUM_FETCHES = 64  # at once, of one gateway
NUM_THREADS = 8  # look up names; of their own, for a slow name server must not keep tokenizers waiting
TIMEOUT_S = 10.0  # over everything: turns, names, redirects, bytes

_TIMEOUTS = httpx.Timeout(TIMEOUT_S, connect=3.0)
_MAX_NUM_ADDRESSES = 3  # of one name that are tried
_HEADERS = {"accept": "image/*", "accept-encoding": "identity", "user-agent": "penstock"}

Resolve = Callable[[str, int], Sequence[str]]
Spend = Callable[[int], None]  # told of bytes before they are kept; raises when they are too many


def resolve(host: str, port: int) -> Sequence[str]:
    """The numeric addresses of a host, in the order the system would try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """Stateless between fetches: no cookies, no connections kept, no proxy of the environment's."""

    def __init__(
        self,
        is_allowed: Callable[[str, int], bool],
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._is_allowed = is_allowed
        self._resolve = resolve
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._turns = asyncio.Semaphore(MAX_NUM_FETCHES)
        self._names = ThreadPoolExecutor(NUM_THREADS, "names")

    def close(self) -> None:
        self._names.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, url: str, spend: Spend) -> bytes:
        """The file at `url`. Raises UnreadableImage, and what `spend` does."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turns:
                return await self._follow(httpx.URL(url), spend)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise UnreadableImage(f"it could not be fetched within {TIMEOUT_S:g} seconds") from error
        except httpx.ConnectError as error:
            raise UnreadableImage("its server cannot be reached, or has no valid certificate") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict) as error:
            raise UnreadableImage(f"its server was not understood ({type(error).__name__})") from error

    async def _follow(self, url: httpx.URL, spend: Spend) -> bytes:
        limits = httpx.Limits(max_keepalive_connections=0)
        client = httpx.AsyncClient(
            verify=self._tls, trust_env=False, headers=_HEADERS, limits=limits, timeout=_TIMEOUTS
        )
        async with client:
            for _ in range(MAX_NUM_REDIRECTS + 1):
                found = await self._get(client, url, spend)
                if isinstance(found, bytes):
                    return found
                url = found
        raise UnreadableImage(f"its URL was redirected more than {MAX_NUM_REDIRECTS} times")

    async def _get(self, client: httpx.AsyncClient, url: httpx.URL, spend: Spend) -> bytes | httpx.URL:
        """The file, or where it is said to be. The next address is tried when one cannot be connected to."""
        host = url.raw_host.decode("ascii")
        error: httpx.TransportError | None = None
        for address in await self._addresses(url, host):
            asked = client.stream(
                "GET",
                url.copy_with(host=address),
                headers={"host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": host},
            )
            try:
                async with asked as response:
                    return await _read(response, url, spend)
            except (httpx.ConnectError, httpx.ConnectTimeout) as not_connected:
                error = not_connected
        raise error or UnreadableImage("its host has no address")

    async def _addresses(self, url: httpx.URL, host: str) -> Sequence[str]:
        if url.scheme not in ("http", "https") or not host:
            raise UnreadableImage("its URL does not begin with http:// or https:// and a host")
        if url.userinfo:
            raise UnreadableImage("its URL has a user or a password in it")
        port = (443 if url.scheme == "https" else 80) if url.port is None else url.port
        if not 0 < port < 2**16:
            raise UnreadableImage(f"its host has no port {port}")
        try:
            addresses = await asyncio.get_running_loop().run_in_executor(self._names, self._resolve, host, port)
        except (OSError, UnicodeError) as error:
            raise UnreadableImage("its host was not found") from error
        if not all(self._is_allowed(address, port) for address in addresses):
            raise UnreadableImage("its URL leads to no public web server, and this gateway fetches from no other")
        return addresses[:_MAX_NUM_ADDRESSES]


async def _read(response: httpx.Response, url: httpx.URL, spend: Spend) -> bytes | httpx.URL:
    if response.has_redirect_location:
        return url.join(response.headers["location"])
    if response.status_code != httpx.codes.OK:
        raise UnreadableImage(f"its server answered with status {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnreadableImage("its server sent it compressed, though asked not to")
    file = bytearray()
    async for part in response.aiter_raw():
        spend(len(part))
        file += part
    return bytes(file)
