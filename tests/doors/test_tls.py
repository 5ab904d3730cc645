"""HTTP/1.1 over TLS and mutual TLS on our own door."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from muxproxy.doors import DoorLimits, DoorTls
from tests.doors.harness import BOUND, SMALL, Echo, client_of, request, serving, until
from tests.doors.test_leaving import Watcher
from tests.doors.test_splice import breaking


class Authority:
    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.cert, self.key = str(folder / "cert.pem"), str(folder / "key.pem")
        self.ca_file = str(folder / "ca.pem")
        issued = self.ca.issue_cert("localhost", "127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)
        self.ca.cert_pem.write_to_path(self.ca_file)

    def tls(self, http2: bool = False, mutual: bool = False) -> DoorTls:
        ca = self.ca_file if mutual else None
        return DoorTls(cert=self.cert, key=self.key, client_ca=ca, http2=http2)

    def client(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
@pytest.mark.parametrize("http2", [False, True])
async def test_http_1_1_over_tls(authority: Authority, alpn: tuple[str, ...], http2: bool) -> None:
    app = Echo()
    options = {"ssl": authority.client(*alpn), "server_hostname": "localhost"}
    async with (
        serving(app, tls=authority.tls(http2)) as door,
        client_of(door, **options) as client,
    ):
        for body in (b"hello", b"x" * 300_000):
            client.send(request("POST", body=body))
            assert (await client.read()).body == body
        assert app.calls[0].scope["scheme"] == "https"
        assert app.calls[0].scope["http_version"] == "1.1"


async def test_refusals_over_tls(authority: Authority) -> None:
    options = {"ssl": authority.client(), "server_hostname": "localhost"}
    app = Echo()
    async with serving(app, SMALL, tls=authority.tls()) as door:
        async with client_of(door, **options) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            assert (await client.read()).status == 400
            assert await client.closed()
        assert not app.calls


async def test_a_client_that_leaves_is_noticed_over_tls(authority: Authority) -> None:
    app = Watcher()
    options = {"ssl": authority.client(), "server_hostname": "localhost"}
    async with serving(app, tls=authority.tls()) as door, client_of(door, **options) as client:
        client.send(request())
        await app.began.wait()
        client.writer.close()
        async with asyncio.timeout(BOUND):
            await app.gone.wait()
        await until(lambda: door.open_connections == 0)


async def test_a_broken_body_looks_broken_over_tls(authority: Authority) -> None:
    options = {"ssl": authority.client(), "server_hostname": "localhost"}
    app = breaking([], "abort")
    async with serving(app, tls=authority.tls()) as door, client_of(door, **options) as client:
        client.send(request())
        assert not (await client.read()).complete


async def test_mutual_tls(authority: Authority) -> None:
    known = authority.client()
    authority.ca.issue_cert("client.example").configure_cert(known)
    stranger = authority.client()
    trustme.CA().issue_cert("client.example").configure_cert(stranger)
    app = Echo()
    async with serving(app, tls=authority.tls(mutual=True)) as door:
        async with client_of(door, ssl=known, server_hostname="localhost") as client:
            client.send(request())
            assert (await client.read()).status == 200
        for context in (authority.client(), stranger):
            # With TLS 1.3 the client learns of the refusal at its first read.
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                async with client_of(door, ssl=context, server_hostname="localhost") as client:
                    client.send(request())
                    await client.read()
        assert len(app.calls) == 1


async def test_a_client_that_never_shakes_hands_is_dropped(authority: Authority) -> None:
    limits = DoorLimits(header_timeout=0.2)
    async with serving(Echo(), limits, tls=authority.tls()) as door, client_of(door) as client:
        assert await client.closed()


async def test_bad_certificate_files_are_told_at_the_start(authority: Authority) -> None:
    wrong = DoorTls(cert=authority.cert, key=authority.ca_file)
    with pytest.raises(ssl.SSLError):
        async with serving(Echo(), tls=wrong):
            pass
    with pytest.raises(OSError):
        async with serving(Echo(), tls=DoorTls(cert="/nowhere", key="/nowhere")):
            pass
