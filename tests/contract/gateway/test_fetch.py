"""Image files come from real servers, within limits and only from where clients may reach."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trustme

from penstock.core.errors import InvalidImage, UnreadableImage
from penstock.gateway.images import fetch
from penstock.gateway.images.addresses import is_any, is_public
from penstock.gateway.images.fetch import MAX_NUM_REDIRECTS, Fetcher

FILE = bytes(range(256)) * 200
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class Web:
    """A server on loopback that says to each path what a test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []  # heads of requests
        self.num_connections = 0
        self.answers: dict[str, bytes] = {"/a.png": answer(FILE)}
        self.begin = b""  # of what is sent for ever, very slowly
        self.name = "127.0.0.1"

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://{self.name}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            path = head.split()[1]
            if path == "/endless":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    writer.write(bytes(65536))
                    await writer.drain()
            if path == "/silent":
                await reader.read()
            writer.write(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return answer(b"", f"location: {to}", "set-cookie: a=b", status=status)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    web = Web()
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    async with server:
        yield web


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving() as found:
        yield found


class Counter:
    """Allows so many bytes."""

    def __init__(self, num_bytes: int = 10**6) -> None:
        self.left = num_bytes

    def spend(self, num_bytes: int) -> None:
        self.left -= num_bytes
        if self.left < 0:
            raise InvalidImage("here", "it is too large")


async def get(fetcher: Fetcher, url: str, max_bytes: int = 10**6) -> bytes:
    return await fetcher.fetch(url, Counter(max_bytes).spend)


async def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(UnreadableImage) as caught:
        await get(fetcher, url)
    return caught.value.message


def resolving(**hosts: Sequence[str]) -> fetch.Resolve:
    """Names as a test has them; `_` stands for a dot."""

    def resolve(host: str, _port: int) -> Sequence[str]:
        found = [host] if host[0].isdigit() else hosts.get(host.replace(".", "_"))
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return found

    return resolve


async def test_a_file_is_fetched_as_it_is(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    counter = Counter()
    assert await Fetcher(is_any).fetch(web.url("/a.png"), counter.spend) == FILE
    assert counter.left == 10**6 - len(FILE)
    (head,) = web.asked
    assert f"host: 127.0.0.1:{web.port}" in head and "accept-encoding: identity" in head


async def test_the_system_resolves_names(web: Web) -> None:
    web.name = "localhost"
    assert await get(Fetcher(is_any), web.url("/a.png")) == FILE
    assert f"host: localhost:{web.port}" in web.asked[0]


async def test_the_connection_goes_to_the_address_that_was_checked(web: Web) -> None:
    checked: list[tuple[str, int]] = []

    def is_allowed(address: str, port: int) -> bool:
        checked.append((address, port))
        return True

    web.name = "images.example"
    fetcher = Fetcher(is_allowed, resolving(images_example=["127.0.0.1"]))
    assert await get(fetcher, web.url("/a.png")) == FILE
    assert checked == [("127.0.0.1", web.port)]
    assert f"host: images.example:{web.port}" in web.asked[0]


async def test_the_next_address_is_tried_when_one_does_not_answer(web: Web) -> None:
    web.name = "images.example"
    unused = "::1" if socket.has_ipv6 else "127.0.0.2"  # nobody listens there
    fetcher = Fetcher(is_any, resolving(images_example=[unused, "127.0.0.1"]))
    assert await get(fetcher, web.url("/a.png")) == FILE


async def test_no_request_leaves_for_an_address_that_is_not_allowed(web: Web) -> None:
    assert "no public web server" in await refusal(Fetcher(is_public), web.url("/a.png"))
    web.name = "images.example"
    mixed = Fetcher(lambda address, _: address != "10.0.0.1", resolving(images_example=["127.0.0.1", "10.0.0.1"]))
    assert "no public web server" in await refusal(mixed, web.url("/a.png"))
    assert web.num_connections == 0


async def test_a_redirect_is_checked_like_the_url_itself(web: Web) -> None:
    web.name = "images.example"
    resolve = resolving(images_example=["127.0.0.1"], inside_example=["127.0.0.7"])
    fetcher = Fetcher(lambda address, _: address == "127.0.0.1", resolve)
    for target in (f"http://127.0.0.7:{web.port}/a.png", f"http://inside.example:{web.port}/a.png"):
        web.answers["/moved"] = redirect(target)
        assert "no public web server" in await refusal(fetcher, web.url("/moved"))
    for target, reason in (
        ("file:///etc/passwd", "does not begin"),
        ("ftp://images.example/", "does not begin"),
        ("http://", "more than 3 times"),  # to itself
        ("http://nowhere.example/", "not found"),
        (f"http://me:secret@images.example:{web.port}/a.png", "a user or a password"),
        ("http://[", "not found"),
        ("http://images.example:99999/", "has no port 99999"),
    ):
        web.answers["/moved"] = redirect(target)
        assert reason in await refusal(fetcher, web.url("/moved"))
    assert all(head.startswith("GET /moved ") for head in web.asked)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed_and_bring_no_cookies_of_others(web: Web, status: str) -> None:
    web.answers["/moved"] = redirect("/a.png", status)
    fetcher = Fetcher(is_any)
    assert await get(fetcher, web.url("/moved")) == FILE
    assert await get(fetcher, web.url("/a.png")) == FILE
    assert "cookie" not in web.asked[-1]


async def test_redirects_end(web: Web) -> None:
    for number in range(10):
        web.answers[f"/{number}"] = redirect(f"/{number + 1}")
    web.answers[f"/{MAX_NUM_REDIRECTS}"] = answer(FILE)
    assert await get(Fetcher(is_any), web.url("/0")) == FILE
    web.answers[f"/{MAX_NUM_REDIRECTS}"] = redirect("/a.png")
    assert "more than 3 times" in await refusal(Fetcher(is_any), web.url("/0"))
    web.answers["/round"] = redirect("/round")
    assert "more than 3 times" in await refusal(Fetcher(is_any), web.url("/round"))


async def test_bytes_are_counted_as_they_come(web: Web) -> None:
    with pytest.raises(InvalidImage, match="too large"):
        await get(Fetcher(is_any), web.url("/endless"), max_bytes=500_000)
    with pytest.raises(InvalidImage, match="too large"):
        await get(Fetcher(is_any), web.url("/a.png"), max_bytes=len(FILE) - 1)


async def test_a_fetch_has_only_so_long(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT_S", 0.2)
    assert "within 0.2 seconds" in await refusal(Fetcher(is_any), web.url("/silent"))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(b"", status="404 Not Found"), "status 404"),
        (answer(b"", status="500 Broken"), "status 500"),
        (answer(b"", status="304 Same"), "status 304"),
        (answer(b"", status="302 Found"), "status 302"),  # to nowhere
        (answer(FILE, "content-encoding: gzip"), "compressed"),
        (b"SSH-2.0-OpenSSH\r\n", "not understood"),
        (b"", "not understood"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", "not understood"),
    ],
)
async def test_what_is_no_file_says_why(web: Web, said: bytes, reason: str) -> None:
    web.answers["/odd"] = said
    assert reason in await refusal(Fetcher(is_any), web.url("/odd"))


async def test_a_server_that_is_not_there_is_said_not_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert "cannot be reached" in await refusal(Fetcher(is_any), f"http://127.0.0.1:{port}/")
    assert "not found" in await refusal(Fetcher(is_any, resolving()), "http://nowhere.example/")
    assert "no address" in await refusal(Fetcher(is_any, resolving(empty_example=[])), "http://empty.example/")
    assert "not found" in await refusal(Fetcher(is_any), f"http://{'a' * 70}.example/")


async def test_tls_asks_for_the_certificate_of_the_name_and_not_of_the_address() -> None:
    authority = trustme.CA()
    offered, trusted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("images.example").configure_cert(offered)
    authority.configure_trust(trusted)
    names: list[str | None] = []
    offered.sni_callback = lambda _socket, name, _context: names.append(name)
    async with serving(offered) as web:
        resolve = resolving(images_example=["127.0.0.1"], other_example=["127.0.0.1"])
        fetcher = Fetcher(is_any, resolve, trusted)
        web.name = "images.example"
        assert await get(fetcher, web.url("/a.png", "https")) == FILE
        assert names == ["images.example"]
        web.name = "other.example"
        assert "no valid certificate" in await refusal(fetcher, web.url("/a.png", "https"))
        web.name = "images.example"
        assert "no valid certificate" in await refusal(Fetcher(is_any, resolve), web.url("/a.png", "https"))
