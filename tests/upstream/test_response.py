"""Framing, sans I/O: each case whole, byte by byte, in any partition and with bytes behind it."""

from operator import attrgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.upstream.response import Response
from tests.upstream.cases import CASES, TRAILING, Case

each = pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
complete = pytest.mark.parametrize(
    "case", [c for c in CASES if c.clean and not c.close], ids=attrgetter("name")
)


def play(case: Case, parts: list[bytes]) -> tuple[Response, bytes]:
    """The response after `parts`, and its body."""
    response = Response()
    response.begin(bodiless=case.method == b"HEAD")
    body = b""
    for part in parts:
        body += response.feed(part)
        if response.over:
            break
    return response, body


def check(case: Case, response: Response, body: bytes) -> None:
    at_end = case.close and response.eof()
    if case.body is None:
        assert not response.headed and not at_end
        assert bool(response.fault) != case.close
        return
    assert response.headed and response.status == case.status
    assert body == case.body
    if case.broken:
        assert not at_end
        assert bool(response.fault) != case.close
    else:
        assert not response.fault
        assert at_end if case.close else response.over


@each
def test_whole(case: Case) -> None:
    reads = [case.wire[i : i + 65536] for i in range(0, len(case.wire), 65536)]
    response, body = play(case, reads)
    check(case, response, body)
    assert (response.keep and not response.fault) == (case.keep and case.clean)


@each
def test_byte_by_byte(case: Case) -> None:
    response, body = play(case, [case.wire[i : i + 1] for i in range(len(case.wire))])
    check(case, response, body)


@given(st.sampled_from([c for c in CASES if len(c.wire) < 2000]), st.data())
@settings(max_examples=200, deadline=None)
def test_any_partition_gives_the_same(case: Case, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(case.wire) - 1), max_size=12)))
    parts = [case.wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(case.wire)], strict=True)]
    response, body = play(case, parts)
    check(case, response, body)


@complete
@pytest.mark.parametrize("extra", TRAILING.values(), ids=TRAILING.keys())
def test_bytes_behind_cost_the_connection_and_never_join_the_body(case: Case, extra: bytes) -> None:
    response, body = play(case, [case.wire + extra])
    assert response.over and not response.fault
    assert body == case.body
    assert not response.keep


def test_one_parser_serves_response_after_response() -> None:
    response = Response()
    for case in [c for c in CASES if c.clean and c.keep]:
        response.begin(bodiless=case.method == b"HEAD")
        assert response.feed(case.wire) == case.body
        assert response.over and response.keep and response.status == case.status


def test_fields_keep_order_and_duplicates_and_leave_trailers_out() -> None:
    response = Response()
    response.feed(
        b"HTTP/1.1 103 Hints\r\nlink: a\r\n\r\n"
        b"HTTP/1.1 200 Fine by me\r\nSet-Cookie: a\r\nX: 1\r\nset-cookie: b\r\nEmpty:\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\nx-trailer: 1\r\n\r\n"
    )
    assert response.reason == b"Fine by me"
    assert response.headers == [
        (b"set-cookie", b"a"),
        (b"x", b"1"),
        (b"set-cookie", b"b"),
        (b"empty", b""),
        (b"transfer-encoding", b"chunked"),
    ]


def test_a_switch_that_was_asked_for_leaves_the_rest_alone() -> None:
    response = Response()
    response.begin(upgradable=True)
    head = b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    response.feed(head + b"\x81\x02hi")
    assert response.upgraded and response.leftover == b"\x81\x02hi"
