"""A head met before on a connection means what a fresh parser makes of it, whatever differs."""

from __future__ import annotations

import pytest

from muxproxy.doors import DoorLimits
from muxproxy.doors.head import HeadParser
from muxproxy.doors.refusals import Refused
from muxproxy.doors.repeats import Repeats

LIMITS = DoorLimits()
FIRST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
    b"authorization: Bearer one\r\nContent-Length:  12 \r\naccept: */*"
)


def outcome(head: bytes, repeats: Repeats, parser: HeadParser) -> object:
    try:
        found = repeats.parse(head, parser)
    except Refused as refused:
        return refused.status, refused.code
    return found.line, found.headers, found.length, found.keep_alive, found.expect


@pytest.mark.parametrize(
    "then",
    [
        FIRST,
        FIRST.replace(b"12", b"7"),
        FIRST.replace(b"12", b"000012"),
        FIRST.replace(b"12", b"9" * 18),
        FIRST.replace(b"12", b"9" * 19),
        FIRST.replace(b"12", b""),
        FIRST.replace(b"12", b"1 2"),
        FIRST.replace(b"12", b"+12"),
        FIRST.replace(b"12", b"-1"),
        FIRST.replace(b"12", b"1,2"),
        FIRST.replace(b"12", b"1\r\ncontent-length: 2"),
        FIRST.replace(b"12", b"1\r\ntransfer-encoding: chunked\r\nx: 2"),
        FIRST.replace(b"12", "\u0661".encode()),
        FIRST.replace(b"Bearer one", b"Bearer two"),
        FIRST.replace(b"host: localhost", b"host: localhost\r\nhost: other"),
        FIRST.replace(b"/v1/chat", b"http://other/v1/chat"),
        FIRST + b"\r\nx: y",
        FIRST[:-1],
        b"GET / HTTP/1.1\r\nhost: localhost",
    ],
)
def test_a_second_head_is_judged_as_a_fresh_parser_judges_it(then: bytes) -> None:
    parser, repeats = HeadParser(LIMITS), Repeats()
    first = outcome(FIRST, repeats, parser)
    expected = outcome(then, Repeats(), HeadParser(LIMITS))
    assert outcome(then, repeats, parser) == expected
    assert outcome(FIRST, repeats, parser) == first
    assert outcome(then, repeats, parser) == expected


def test_what_a_reader_keeps_lives_as_long_as_the_rest_of_the_head() -> None:
    parser, repeats = HeadParser(LIMITS), Repeats()
    repeats.parse(FIRST, parser).memo["caller"] = "one"
    assert repeats.parse(FIRST, parser).memo == {"caller": "one"}
    assert repeats.parse(FIRST.replace(b"12", b"345"), parser).memo == {"caller": "one"}
    assert repeats.parse(FIRST.replace(b"Bearer one", b"Bearer two"), parser).memo == {}
    assert repeats.parse(FIRST, parser).memo == {}


def test_a_length_that_stands_where_another_field_did_is_found_again() -> None:
    """The pair that is replaced is Content-Length's, also where the target dictates Host."""
    parser, repeats = HeadParser(LIMITS), Repeats()
    absolute = b"POST http://example.com/ HTTP/1.1\r\ncontent-length: 5\r\nHost: a\r\nx: 1"
    repeats.parse(absolute, parser)
    again = repeats.parse(absolute.replace(b": 5", b": 61"), parser)
    assert again.headers == [(b"host", b"example.com"), (b"content-length", b"61"), (b"x", b"1")]
    assert again.length == 61
