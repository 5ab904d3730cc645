"""Body decoders: any slicing, nothing beyond the end, no byte of a broken body too many."""

from itertools import pairwise

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.doors.bodies import ChunkedBody, CountedBody
from muxproxy.doors.refusals import Refused
from tests.doors.malformed import CHUNKS

_LIMIT = 1 << 20


def encode(pieces: list[bytes], extension: bytes, trailer: bytes) -> bytes:
    coded = b"".join(b"%X%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces if p)
    return coded + b"0\r\n" + trailer + b"\r\n"


def decode(raw: bytes, cuts: list[int], body: ChunkedBody | CountedBody) -> tuple[bytes, int]:
    """The body and the offset of its end in `raw` (-1: not ended)."""
    out: list[bytes] = []
    edges = sorted({0, len(raw), *(c for c in cuts if c < len(raw))})
    for start, stop in pairwise(edges):
        over = body.feed(raw[start:stop], out)
        if over >= 0:
            return b"".join(out), start + over
    return b"".join(out), -1


_PIECES = st.lists(st.binary(max_size=40), max_size=6)
_CUTS = st.lists(st.integers(1, 400), max_size=20)


@settings(max_examples=200, deadline=None)
@given(
    _PIECES,
    _CUTS,
    st.sampled_from([b"", b";a", b" ; a=b", b';a="b;\\"c"']),
    st.sampled_from([b"", b"X-T: v\r\n", b"A:\r\nB: \x80\r\n"]),
    st.binary(max_size=10),
)
def test_chunked_bodies_decode_the_same_however_sliced(
    pieces: list[bytes], cuts: list[int], extension: bytes, trailer: bytes, rest: bytes
) -> None:
    raw = encode(pieces, extension, trailer)
    assert decode(raw + rest, cuts, ChunkedBody(_LIMIT)) == (b"".join(pieces), len(raw))
    assert decode(raw[:-1], cuts, ChunkedBody(_LIMIT))[1] == -1


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=80), _CUTS, st.binary(max_size=10))
def test_counted_bodies(body: bytes, cuts: list[int], rest: bytes) -> None:
    assert decode(body + rest, cuts, CountedBody(len(body))) == (body, len(body))
    assert decode(body[:-1], cuts, CountedBody(len(body)))[1] == -1


@pytest.mark.parametrize("case", CHUNKS, ids=lambda c: c.name)
def test_a_broken_body_is_refused_however_sliced(case) -> None:  # type: ignore[no-untyped-def]
    raw = case.raw.partition(b"\r\n\r\n")[2]
    for cuts in ([], list(range(len(raw)))):
        with pytest.raises(Refused) as refused:
            decode(raw, cuts, ChunkedBody(_LIMIT))
        assert refused.value.status == case.status


class _Llhttp:
    def __init__(self) -> None:
        self.body = b""
        self.done = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done = True


_SPICE = st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b";", b"0", b"1", b"f", b"g", b"-", b"\0"])


@settings(max_examples=200, deadline=None)
@given(_PIECES, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), _SPICE), max_size=3))
def test_what_we_accept_llhttp_reads_the_same_way(
    pieces: list[bytes], edits: list[tuple[int, int, bytes]]
) -> None:
    raw = encode(pieces, b"", b"")
    for at, cut, spice in edits:
        raw = raw[:at] + spice + raw[at + cut :]
    try:
        body, end = decode(raw, [], ChunkedBody(_LIMIT))
    except Refused:
        return
    if end < 0:
        return
    other = _Llhttp()
    other.parser.feed_data(raw[:end])
    assert (other.done, other.body) == (True, body)
