"""Whom a tunnel's first bytes ask for."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.doors.hello import Incomplete, TooLong, named
from muxproxy.doors.limits import DoorLimits

LIMITS = DoorLimits()


def hello(name: str | None) -> bytes:
    """What Python's TLS client says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def fragmented(data: bytes, size: int) -> bytes:
    """The same handshake message in records of `size` bytes."""
    message = data[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(data[:3] + len(p).to_bytes(2) + p for p in pieces)


@pytest.mark.parametrize("name", ["api.openai.com", "a.b.c.example", None])
def test_a_server_name(name: str | None) -> None:
    data = hello(name)
    assert named(data, LIMITS) == name
    for size in (1, 7, 100):
        assert named(fragmented(data, size), LIMITS) == name
    for cut in range(1, len(data)):
        with pytest.raises(Incomplete):
            named(data[:cut], LIMITS)


@pytest.mark.parametrize(
    ("data", "host"),
    [
        (b"GET / HTTP/1.1\r\nHost: api.openai.com\r\n\r\n", "api.openai.com"),
        (b"POST /v1 HTTP/1.1\r\na: b\r\nHOST:  api.openai.com:80 \r\n\r\nbody", "api.openai.com"),
        (b"GET / HTTP/1.0\nhost: x\n\n", "x"),
        (b"GET http://one/ HTTP/1.1\r\nHost: two\r\n\r\n", "one"),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "::1"),
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"EHLO there\r\n", None),
        (b"GET a key\r\n", None),
        (b"SSH-2.0-x\r\n", None),
        (b"\x16\x02rubbish that is no TLS", None),
        (b"\x16\x03\x01\x00\x05POST /", None),
        (b"\x00\xff", None),
    ],
)
def test_a_host(data: bytes, host: str | None) -> None:
    assert named(data, LIMITS) == host


@pytest.mark.parametrize(
    "data", [b"", b"G", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\x16", b"\x16\x03\x01\x02"]
)
def test_what_is_cut_short(data: bytes) -> None:
    with pytest.raises(Incomplete):
        named(data, LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 20_000,
        b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000,
        b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380),
    ],
)
def test_what_has_no_end(data: bytes) -> None:
    with pytest.raises(TooLong):
        named(data, LIMITS)


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes(data: bytes) -> None:
    for lead in (b"", b"\x16\x03\x01\x00\x80\x01\x00\x00\x7c", b"GET / HTTP/1.1\r\n"):
        with suppress(Incomplete, TooLong):
            assert isinstance(named(lead + data, LIMITS), str | None)
