"""Providers' answers: any cut gives the same one, and h11 reads it the same way."""

from __future__ import annotations

import h11

from muxproxy.upstream.response import MAX_QUIET, Response
from tests.fuzz.wire import cuts, in_trailers

SEEDS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n",
]
TOKENS = [
    *(b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b",", b";", b"\0", b"\x80", b"\r\n\r\n", b"H"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/2.0", b"ICY 200"),
    *(b"0\r\n\r\n", b"18446744073709551616", b"ffffffffffffffff", b"-1", b"+5", b"gzip"),
]


def _fed(pieces: list[bytes]) -> tuple[Response, bytes]:
    response, body = Response(), b""
    for piece in pieces:
        body += response.feed(piece)
        assert response._quiet <= MAX_QUIET + len(piece)
        if response.over:
            break
    return response, body


def _told(response: Response, body: bytes) -> tuple[object, ...]:
    good = not response.fault
    ended = response.eof() if not response.over else True
    head = (response.status, response.reason, response.headers) if response.headed else None
    return (good, head, body, ended) if good else (good,)


def check(data: bytes) -> None:
    data = data[:4096]
    if not data:
        return
    whole, body = _fed([data])
    for size in (1, data[-1] % 61 + 2):
        cut, pieces = _fed(cuts(data, size))
        assert _told(cut, pieces) == _told(whole, body), (size, _told(cut, pieces))
        cut.close()
    if not whole.fault and whole.headed and whole.over:
        _second_opinion(data, whole, body)
    whole.close()


def _second_opinion(data: bytes, ours: Response, body: bytes) -> None:
    """h11 is stricter about an empty line between an interim response and the next, and about
    framing fields in trailers, which we throw away; it writes a transfer coding in lower case."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    head, theirs = None, b""
    try:
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                theirs += event.data
            elif event is h11.NEED_DATA:
                raise AssertionError((ours.status, ours.headers, body))
    except h11.RemoteProtocolError as error:
        if str(error) == "no response line received" or (ours._chunked and in_trailers(error)):
            return
        raise AssertionError((str(error), ours.status, ours.headers)) from error
    assert head is not None
    assert (head.status_code, theirs) == (ours.status, body)
    fields = [(name.lower(), value.lower()) for name, value in head.headers]
    wanted = [(name, value.strip(b" \t").lower()) for name, value in ours.headers]
    assert fields == wanted, (fields, wanted)
