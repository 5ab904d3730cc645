"""Requests: any cut gives the same ones, and h11 reads them the same way."""

from __future__ import annotations

import asyncio
import zlib

from tests.fuzz.wire import connect, cuts, second_opinion

SEEDS = [
    b"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\nX-A: b\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5;a="b"\r\nhello\r\n0\r\nX-T: v\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET http://b.example/y HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    b"\r\n\r\nHEAD / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n",
    b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
]
TOKENS = [
    *(b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b",", b";", b"\0", b"\x0b", b"\x80", b"\x7f"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"0\r\n\r\n"),
    *(b"chunked", b"HTTP/1.1", b"HTTP/1.0", b"\r\n\r\n", b"Connection: close\r\n", b"X-A: b\r\n"),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"18446744073709551616", b"ffffffffffffffff", b"-1"),
    *(b"http://c/", b"?", b"#", b"*", b"@", b"%", b"_", b'"', b"\\", b"Expect: 100-continue\r\n"),
]
_LOOP = asyncio.new_event_loop()


def check(data: bytes, size: int = 0) -> None:
    """`size` of the pieces; 0: as the input will have it, often 1."""
    data = data[:2048]
    if not data:
        return
    whole = _LOOP.run_until_complete(connect([data]))
    second_opinion(data, whole.requests)
    if not size:
        chance = zlib.crc32(data)
        size = 1 if chance % 4 == 0 else chance % 61 + 2
    cut = _LOOP.run_until_complete(connect(cuts(data, size)))
    assert cut.requests == whole.requests, (size, cut, whole)
    # Which of several faults is met first may depend on the cut; that there is one must not.
    assert bool(cut.refused) == bool(whole.refused), (size, cut, whole)
    assert len(cut.statuses) == len(whole.statuses), (size, cut, whole)
