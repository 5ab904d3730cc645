"""Opening connections: addresses that are dead, TLS, the egress proxy, Unix sockets, time."""

import asyncio
import socket
from pathlib import Path

import pytest

from muxproxy.headers import VIA
from muxproxy.upstream import Request, Resolver, UpstreamError, Upstreams
from tests.upstream.dialling import Tls, client_for, failure, good, resolver
from tests.upstream.peer import OK, PATIENCE, Conn, Peer, answers, spec_for

DEAD = "127.0.0.2"  # loopback, and nobody listens on the port


# -- addresses


@pytest.mark.parametrize(
    "addresses",
    [(DEAD, "127.0.0.1"), ("127.0.0.1", DEAD), ("::1", "127.0.0.1"), ("192.0.2.1", "127.0.0.1")],
    ids=["refused first", "refused last", "IPv6 first", "a black hole first"],
)
async def test_a_dead_address_does_not_matter(addresses, serve) -> None:
    peer = await serve(answers(OK))
    ask = await client_for(resolver(*addresses), peer.port)
    assert await good(ask) == b"ok"


async def test_nobody_listens(serve) -> None:
    peer = await serve(answers(OK))
    port = peer.port
    await peer.aclose()
    error = await failure(await client_for(resolver(DEAD, "127.0.0.1"), port))
    assert (error.cause, error.code, error.status) == ("connect", "upstream_connect", 502)
    assert f"api.example:{port}" in error.message


async def test_a_failed_connect_asks_dns_again() -> None:
    asked = 0

    async def lookup(host: str, port: int):
        nonlocal asked
        asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (DEAD, port))]

    client = Upstreams(Resolver(lookup))
    origin = client.origin(spec_for(1, host="api.example"))
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await client.send(origin, Request(method=b"GET", target=b"/", headers=[]))
    assert asked == 2
    await client.aclose()


async def test_a_name_that_does_not_exist() -> None:
    async def lookup(host: str, port: int):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    error = await failure(await client_for(Resolver(lookup), 443))
    assert (error.cause, error.code) == ("dns", "upstream_connect")
    assert "api.example" in error.message


async def test_connecting_takes_too_long() -> None:
    async def lookup(host: str, port: int):
        await asyncio.Event().wait()

    error = await failure(await client_for(Resolver(lookup), 443, connect=0.05))
    assert (error.cause, error.code, error.status) == ("timeout", "upstream_timeout", 504)
    assert "timeouts.connect" in error.message


async def test_a_server_that_speaks_first_is_no_http_server(serve) -> None:
    async def script(conn: Conn) -> None:
        await conn.say(b"220 mail ESMTP\r\n")
        await conn.gone()

    ask = await client_for(resolver("127.0.0.1"), (await serve(script)).port)
    try:
        with pytest.raises(UpstreamError):
            await ask()
        assert ask.origin.stats().open == 0
    finally:
        await ask.upstreams.aclose()


async def test_a_unix_socket(serve, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    await serve(answers(OK), path=path)
    ask = await client_for(Resolver(), 0, scheme="http+unix", host=path)
    assert await good(ask) == b"ok"
    ask = await client_for(Resolver(), 0, scheme="http+unix", host=path + "x")
    assert (await failure(ask)).cause == "connect"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelling_at_any_turn_of_connecting(
    scheme: str, serve, tls: Tls, open_descriptors
) -> None:
    peer = await serve(answers(OK), tls=tls.server if scheme == "https" else None)
    cancelled = 0
    for steps in range(0, 40):
        ask = await client_for(resolver(DEAD, "127.0.0.1"), peer.port, scheme=scheme, ca=tls.file)
        before = open_descriptors()
        task = asyncio.create_task(ask())
        for _ in range(steps):
            await asyncio.sleep(0.0005 if steps > 10 else 0)
        task.cancel()
        try:
            (await task).cancel()
        except asyncio.CancelledError:
            cancelled += 1
        stats = ask.origin.stats()
        assert stats.in_flight == stats.opening == 0
        await ask.upstreams.aclose()
        async with asyncio.timeout(PATIENCE):
            while open_descriptors() > before + 3:  # the server's side lags behind
                await asyncio.sleep(0.001)
    assert cancelled


# -- the egress proxy


class Proxy:
    """A proxy that records CONNECT and tunnels to `to`, or gives `refusal`."""

    def __init__(self, to: int, refusal: bytes = b"") -> None:
        self.to = to
        self.refusal = refusal
        self.heads: list[bytes] = []

    async def __call__(self, conn: Conn) -> None:
        self.heads.append(await conn.head())
        if self.refusal:
            await conn.say(self.refusal)
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.to)
        await conn.say(b"HTTP/1.1 200 Connection established\r\nvia: p\r\n\r\n")

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)

        back = asyncio.create_task(pipe(reader, conn.writer))
        try:
            await pipe(conn.reader, writer)
        finally:
            back.cancel()
            writer.transport.abort()


async def test_https_through_a_proxy(serve, tls: Tls) -> None:
    peer = await serve(answers(OK), tls=tls.server)
    proxy = Proxy(peer.port)
    port = (await serve(proxy)).port
    ask = await client_for(
        resolver("127.0.0.1"),
        443,
        scheme="https",
        ca=tls.file,
        proxy=f"http://u:p%40@proxy.example:{port}",
    )
    for _ in range(2):
        assert await (await ask()).read(10) == b"ok"
    await ask.upstreams.aclose()
    assert proxy.heads == [
        b"CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\nvia: " + VIA + b"\r\n"
        b"proxy-authorization: Basic dTpwQA==\r\n\r\n"
    ]


async def test_http_through_a_proxy_goes_in_absolute_form(serve) -> None:
    seen: list[bytes] = []

    async def script(conn: Conn) -> None:
        seen.append(await conn.request())
        await conn.say(OK)

    port = (await serve(script)).port
    ask = await client_for(resolver("127.0.0.1"), 80, proxy=f"http://u:p@127.0.0.1:{port}")
    assert await good(ask) == b"ok"
    assert seen[0].startswith(
        b"POST http://api.example/v1/x HTTP/1.1\r\nhost: api.example\r\n"
        b"proxy-authorization: Basic dTpw\r\n"
    )


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (b"HTTP/1.1 407 Auth\r\n\r\n", "credentials"),
        (b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", "403"),
        (b"SSH-2.0-x\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "broke off"),
        (b"x" * 20000, "broke off"),
        (b"HTTP/1.1 2", "broke off"),
    ],
    ids=["407", "403", "no HTTP", "bytes behind", "endless", "cut"],
)
async def test_a_proxy_that_refuses(refusal: bytes, said: str, serve, tls: Tls) -> None:
    port = (await serve(Proxy(0, refusal))).port
    ask = await client_for(
        resolver("127.0.0.1"), 443, scheme="https", proxy=f"http://u:s3cret@127.0.0.1:{port}"
    )
    error = await failure(ask)
    assert (error.cause, error.code) == ("connect", "upstream_connect")
    assert said in error.message and "s3cret" not in error.message


async def test_a_proxy_that_is_down(serve) -> None:
    peer: Peer = await serve(answers(OK))
    port = peer.port
    await peer.aclose()
    ask = await client_for(resolver("127.0.0.1"), 80, proxy=f"http://proxy.example:{port}")
    error = await failure(ask)
    assert f"egress proxy proxy.example:{port}" in error.message


async def test_a_proxy_that_hangs(serve) -> None:
    async def script(conn: Conn) -> None:
        await conn.gone()

    port = (await serve(script)).port
    ask = await client_for(
        resolver("127.0.0.1"), 443, scheme="https", proxy=f"http://p:{port}", connect=0.05
    )
    assert (await failure(ask)).cause == "timeout"


async def test_connecting_counts_to_the_total_time() -> None:
    async def lookup(host: str, port: int):
        await asyncio.Event().wait()

    error = await failure(await client_for(Resolver(lookup), 443, total=0.05))
    assert error.cause == "timeout" and "timeouts.total" in error.message
