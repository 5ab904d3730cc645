"""Opened tunnels at the door itself: what the app sees, TLS within TLS, endings."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from muxproxy.doors import DoorLimits
from tests.doors.harness import BOUND, Client, Echo, client_of, request, serving, until
from tests.doors.test_tls import Authority
from tests.doors.test_tunnel import connect

OPEN = b"CONNECT localhost:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer k\r\n\r\n"


class Opening:
    """Opens every tunnel, as whatever `authority` vouches for."""

    off = False

    def __init__(self, authority: Authority) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.cert, authority.key)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self.told: list[tuple[str, str]] = []

    def connect(self, host: str, port: int, headers: Any) -> Any:
        return "intercept"

    def towards(self, host: str, port: int) -> Any:
        return "intercept"

    def context(self, host: str) -> ssl.SSLContext:
        if host != "localhost":
            raise ValueError(host)
        return self._context

    def rejected(self, host: str, reason: str) -> None:
        self.told.append((host, reason))

    def hidden(self, host: str, name: str) -> None:
        raise AssertionError(name)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def opened(client: Client, data: bytes = OPEN) -> None:
    client.send(data)
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("outer", [False, True])
async def test_tls_within_the_tunnel(authority: Authority, outer: bool) -> None:
    """Also where the proxy itself is spoken to over TLS."""
    app, tunnels = Echo(), Opening(authority)
    options: dict[str, Any] = {"tls": authority.tls(http2=True)} if outer else {}
    ends: dict[str, Any] = (
        {"ssl": authority.client(), "server_hostname": "localhost"} if outer else {}
    )
    async with (
        serving(app, tunnels=tunnels, **options) as door,
        client_of(door, **ends) as client,
    ):
        await opened(client)
        async with asyncio.timeout(BOUND):
            await client.writer.start_tls(authority.client(), server_hostname="localhost")
        for body in (b"hello", bytes(300_000)):
            client.send(request("POST", body=body, fields="Proxy-Authorization: Bearer other\r\n"))
            assert (await client.read()).body == body
        scope = app.calls[0].scope
        assert scope["extensions"]["muxproxy.authority"] == ("https", "localhost", 443)
        assert scope["extensions"]["muxproxy.target"] == "absolute"
        keys = [value for name, value in scope["headers"] if name == b"proxy-authorization"]
        assert keys == [b"Bearer k"]  # the one that opened the tunnel
        assert (door.stats.intercepted, door.stats.tunnels, door.stats.connections) == (1, 0, 1)
        assert not tunnels.told


async def test_a_plain_request_behind_the_connect(authority: Authority) -> None:
    app = Echo()
    async with serving(app, tunnels=Opening(authority)) as door, client_of(door) as client:
        await opened(client, OPEN + request("POST", body=b"at once"))
        assert (await client.read()).body == b"at once"
        assert app.calls[0].scope["extensions"]["muxproxy.authority"] == ("http", "localhost", 443)


@pytest.mark.parametrize("data", [b"", b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" + bytes(99)])
async def test_a_client_that_leaves_or_talks_nonsense_leaves_nothing_behind(
    authority: Authority, data: bytes
) -> None:
    limits = DoorLimits(header_timeout=0.3, linger=0.2)
    async with serving(Echo(), limits, tunnels=Opening(authority)) as door:
        async with client_of(door) as client:
            await opened(client)
            client.send(data)
            await until(lambda: door.open_connections == 1 or len(data) > 1)
        await until(lambda: door.open_connections == 0)


async def test_a_client_that_says_nothing_is_closed(authority: Authority) -> None:
    limits = DoorLimits(keep_alive=0.2)
    async with (
        serving(Echo(), limits, tunnels=Opening(authority)) as door,
        client_of(door) as client,
    ):
        await opened(client)
        assert await client.closed()


async def test_a_drain_closes_tunnels_that_wait(authority: Authority) -> None:
    async with (
        serving(Echo(), tunnels=Opening(authority)) as door,
        client_of(door) as client,
        client_of(door) as busy,
    ):
        await opened(client)
        await opened(busy)
        await busy.writer.start_tls(authority.client(), server_hostname="localhost")
        busy.send(request("POST", body=b"x"))
        assert (await busy.read()).body == b"x"
        door.stop_accepting()
        assert await door.drain(BOUND)


async def test_what_may_not_be_certified_is_broken_off(authority: Authority) -> None:
    async with serving(Echo(), tunnels=Opening(authority)) as door, client_of(door) as client:
        await opened(client, connect(443, "other.test"))
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(BOUND):
                await client.writer.start_tls(authority.client(), server_hostname="other.test")
        await until(lambda: door.open_connections == 0)


async def test_the_alert_is_told(authority: Authority) -> None:
    tunnels = Opening(authority)
    async with serving(Echo(), tunnels=tunnels) as door:
        context = ssl.create_default_context()  # does not know the authority

        def shake() -> None:
            import socket

            with socket.create_connection(("127.0.0.1", door.port)) as sock:
                sock.sendall(OPEN)
                while not sock.recv(4096).endswith(b"\r\n\r\n"):
                    continue
                with pytest.raises(ssl.SSLCertVerificationError):
                    context.wrap_socket(sock, server_hostname="localhost")

        await asyncio.to_thread(shake)
        await until(lambda: tunnels.told)
        ((host, reason),) = tunnels.told
        assert host == "localhost" and "unknown ca" in reason
