"""What the TLS listener offers, asked by Python's ssl and, where it is there, by openssl."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import warnings
from collections.abc import Iterator

import pytest

from muxproxy.doors import Door
from muxproxy.doors.tls import server_context
from tests.doors.harness import BOUND, Echo, client_of, request, serving
from tests.doors.test_tls import Authority, authority

__all__ = ["authority"]

OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
NEW = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
# Of TLS 1.2: no forward secrecy, broken, or nobody's.
WEAK = ["AES128-GCM-SHA256", "AES256-SHA", "AES128-SHA", "ECDHE-RSA-RC4-SHA", "DES-CBC3-SHA",
        "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384", "AECDH-AES256-SHA", "NULL",
        "PSK-AES128-GCM-SHA256", "ADH-AES128-GCM-SHA256", "CAMELLIA128-SHA"]  # fmt: skip


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Python warns of every old version that is named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def client(authority: Authority, version: ssl.TLSVersion, ciphers: str = "") -> ssl.SSLContext:
    context = authority.client()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    context.minimum_version = version
    context.set_ciphers(f"{ciphers or 'ALL'}:@SECLEVEL=0")
    return context


async def shaken(door: Door, context: ssl.SSLContext) -> ssl.SSLObject:
    async with asyncio.timeout(BOUND):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", door.port, ssl=context, server_hostname="localhost"
        )
    writer.close()
    found = writer.get_extra_info("ssl_object")
    assert isinstance(found, ssl.SSLObject)
    return found


@pytest.mark.parametrize("version", OLD)
async def test_old_versions_are_not_spoken(authority: Authority, version: ssl.TLSVersion) -> None:
    async with serving(Echo(), tls=authority.tls(http2=True)) as door:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shaken(door, client(authority, version))


@pytest.mark.parametrize("version", NEW)
async def test_new_ones_are_with_forward_secrecy(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    async with serving(Echo(), tls=authority.tls(http2=True)) as door:
        found = await shaken(door, client(authority, version))
        assert found.version() == version.name.replace("v1_", "v1.")
        cipher = found.cipher()
        assert cipher is not None
        name, _, bits = cipher
        assert bits >= 128
        assert name.startswith(("TLS_", "ECDHE-"))
        assert "GCM" in name or "CHACHA20" in name
        assert found.compression() is None


@pytest.mark.parametrize("name", WEAK)
async def test_weak_ciphers_are_not_offered(authority: Authority, name: str) -> None:
    try:
        context = client(authority, ssl.TLSVersion.TLSv1_2, name)
    except ssl.SSLError:
        pytest.skip("this OpenSSL has no such cipher to ask for")
    async with serving(Echo(), tls=authority.tls(http2=True)) as door:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shaken(door, context)


def test_what_is_offered_by_name(authority: Authority) -> None:
    context = server_context(authority.tls(http2=True))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    names = [cipher["name"] for cipher in context.get_ciphers()]
    assert names
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert not [n for n in names if n.startswith("ECDHE") and "GCM" not in n and "POLY" not in n]


async def test_plain_http_to_the_tls_port_reaches_nobody(authority: Authority) -> None:
    app = Echo()
    async with serving(app, tls=authority.tls()) as door, client_of(door) as plain:
        plain.send(request())
        await plain.closed()
        assert not app.calls


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
async def test_a_client_cannot_renegotiate(authority: Authority) -> None:
    """`R` makes s_client ask for a new handshake, which TLS 1.2 would allow."""
    app = Echo()
    async with serving(app, tls=authority.tls()) as door:
        told = await openssl(door, authority, b"R\n" + request("POST", body=b"x"), "-tls1_2")
        assert "RENEGOTIATING" in told
        assert "no renegotiation" in told
        assert "Secure Renegotiation IS supported" in told  # RFC 5746 is understood
        assert "Compression: NONE" in told
        assert not app.calls


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
async def test_early_data_is_not_taken(authority: Authority) -> None:
    """A request that is replayed would be paid twice."""
    async with serving(Echo(), tls=authority.tls()) as door:
        told = await openssl(door, authority, b"Q\n", "-tls1_3")
        assert "Early data was not sent" in told
        assert "Max Early Data: 0" in told or "Max Early Data" not in told


async def openssl(door: Door, authority: Authority, words: bytes, *options: str) -> str:
    """What s_client says."""
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", *options,
        "-CAfile", authority.ca_file, "-servername", "localhost",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BOUND):
            told = b""
            # It reads its commands once the handshake is over, and whole lines of them at a time.
            while b"Verify return code" not in told:
                told += await process.stdout.read(1 << 16)
            process.stdin.write(words)
            await process.stdin.drain()
            while more := await process.stdout.read(1 << 16):
                told += more
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return told.decode("latin-1")
