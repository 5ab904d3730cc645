"""Helpers for tests that open connections to names of their own."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from muxproxy.upstream import Resolver, UpstreamError, Upstreams
from tests.upstream.peer import PATIENCE, Ask, spec_for


def resolver(*addresses: str) -> Resolver:
    async def lookup(host: str, port: int):
        found = []
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            found.append((family, socket.SOCK_STREAM, 6, "", (address, port)))
        return found

    return Resolver(lookup)


class Tls:
    """A CA of our own and a server context it signed."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.ca = trustme.CA()
        self.file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.file)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.set_alpn_protocols(["http/1.1"])
        self.ca.issue_cert(*names).configure_cert(self.server)


async def client_for(resolver: Resolver, port: int, **members: object) -> Ask:
    client = Upstreams(resolver)
    return Ask(client, client.origin(spec_for(port, **{"host": "api.example", **members})))


async def failure(ask: Ask) -> UpstreamError:
    try:
        with pytest.raises(UpstreamError) as caught:
            async with asyncio.timeout(PATIENCE):
                await ask()
        stats = ask.origin.stats()
        assert stats.open == stats.opening == 0 and not caught.value.sent
        return caught.value
    finally:
        await ask.upstreams.aclose()


async def good(ask: Ask) -> bytes:
    try:
        async with asyncio.timeout(PATIENCE):
            return await (await ask()).read(1000)
    finally:
        await ask.upstreams.aclose()
