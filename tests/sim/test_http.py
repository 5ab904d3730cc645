"""The request reader: any cut of the bytes gives the same request; what is malformed is refused."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.sim.http import BadRequest, Head, Reader, chunk, parse_head, render_head

LENGTH = b"POST /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)


def drain(pieces: list[bytes]) -> list[tuple[Head, bytes]]:
    reader = Reader({})
    found: list[tuple[Head, bytes]] = []
    head: Head | None = None
    for piece in pieces:
        reader.feed(piece)
        while True:
            if head is None:
                head = reader.next_head()
            if head is None:
                break
            body = reader.next_body()
            if body is None:
                break
            found.append((head, body))
            head = None
    return found


@pytest.mark.parametrize("wire", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_every_two_way_cut_gives_the_same_request(wire: bytes) -> None:
    for at in range(len(wire) + 1):
        found = drain([wire[:at], wire[at:]])
        assert [body for _, body in found] == [b"hello"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1), st.permutations([LENGTH, CHUNKED, LENGTH]))
def test_pipelined_requests_survive_any_cut(steps: list[int], order: list[bytes]) -> None:
    wire = b"".join(order)
    pieces, at = [], 0
    for step in steps * len(wire):
        pieces.append(wire[at : at + step])
        at += step
        if at >= len(wire):
            break
    assert [body for _, body in drain(pieces)] == [b"hello"] * 3


def test_headers_stay_as_sent_with_case_order_and_duplicates() -> None:
    head = parse_head(LENGTH.partition(b"\r\n\r\n")[0])
    names = [(b"Host", b"a"), (b"X-A", b"1"), (b"x-a", b"2"), (b"Content-Length", b"5")]
    assert list(head.headers) == names
    assert head.get(b"x-a") == b"1"


class Bad(NamedTuple):
    name: str
    head: bytes


BAD = [
    Bad("no version", b"GET /\r\nHost: a"),
    Bad("unknown version", b"GET / HTTP/2.0\r\nHost: a"),
    Bad("no host", b"GET / HTTP/1.1"),
    Bad("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b"),
    Bad("two lengths", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1"),
    Bad("list of lengths", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1"),
    Bad("signed length", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1"),
    Bad(
        "both framings",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
    ),
    Bad("other coding", b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked"),
    Bad("blank before colon", b"GET / HTTP/1.1\r\nHost : a"),
    Bad("folded line", b"GET / HTTP/1.1\r\nHost: a\r\n b: c"),
    Bad("bare line feed", b"GET / HTTP/1.1\r\nHost: a\nb: c"),
    Bad("bare return", b"GET / HTTP/1.1\r\nHost: a\rb"),
    Bad("null byte", b"GET / HTTP/1.1\r\nHost: a\0"),
    Bad("blank in target", b"GET /a b HTTP/1.1\r\nHost: a"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_malformed_heads_are_refused(case: Bad) -> None:
    with pytest.raises(BadRequest):
        parse_head(case.head)


@pytest.mark.parametrize(
    "body", [b"x\r\n", b"-1\r\n", b"0x1\r\n", b"\r\n", b"1\r\nab\r\n", b"1 1\r\n"]
)
def test_malformed_chunks_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        drain([CHUNKED[: CHUNKED.index(b"3;ext")] + body])


def test_keep_alive_follows_version_and_connection() -> None:
    cases = [
        (b"GET / HTTP/1.1\r\nHost: a", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close", False),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", True),
    ]
    assert [parse_head(raw).keep_alive for raw, _ in cases] == [want for _, want in cases]


def test_rendering() -> None:
    assert render_head(529, [(b"A", b"b")]) == b"HTTP/1.1 529 Overloaded\r\nA: b\r\n\r\n"
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
