"""The event-stream framer: any partition of the same bytes gives the same events."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.sse import Event, Framer


def events(parts: list[bytes], limit: int = 1 << 20) -> list[Event]:
    framer = Framer(limit)
    found = [event for part in parts for event in framer.feed(part)]
    return found + framer.finish()


class Case(NamedTuple):
    name: str
    given: bytes
    want: list[Event]


CASES = [
    Case("one_event", b"data: {}\n\n", [(b"", b"{}")]),
    Case("without_space", b"data:{}\n\n", [(b"", b"{}")]),
    Case("only_one_space_goes", b"data:  x\n\n", [(b"", b" x")]),
    Case("crlf", b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
    Case("cr", b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
    Case("mixed", b"data: a\r\n\ndata: b\n\rdata: c\r\r\n", [(b"", b"a"), (b"", b"b"), (b"", b"c")]),  # noqa: E501
    Case("named", b"event: ping\ndata: {}\n\n", [(b"ping", b"{}")]),
    Case("name_after_data", b"data: {}\nevent:ping\n\n", [(b"ping", b"{}")]),
    Case("comments", b": OPENROUTER PROCESSING\n\n:\n\ndata: a\n\n", [(b"", b"a")]),
    Case("comment_inside", b"data: a\n: x\ndata: b\n\n", [(b"", b"a\nb")]),
    Case("several_lines", b"data: {\ndata:  1}\n\n", [(b"", b"{\n 1}")]),
    Case("bare_data", b"data\ndata\n\n", [(b"", b"\n")]),
    Case("other_fields", b"id: 1\nretry: 5\nfoo\ndatax: 1\ndata: a\n\n", [(b"", b"a")]),
    Case("name_without_data", b"event: x\n\ndata: a\n\n", [(b"", b"a")]),
    Case("bom", b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
    Case("bom_only_first", b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"", b"a")]),
    Case("blank_lines_first", b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    Case("no_final_blank_line", b"data: a\n\ndata: b\n", [(b"", b"a"), (b"", b"b")]),
    Case("no_final_line_end", b"data: a\n\ndata: b", [(b"", b"a"), (b"", b"b")]),
    Case("empty", b"", []),
    Case("only_blank", b"\n\n\n", []),
    Case(
        "unicode_separators_are_data",
        "data: a\u2028b\u2029c\u0085d\x0b\x0c\x1c\n\n".encode(),
        [(b"", "a\u2028b\u2029c\u0085d\x0b\x0c\x1c".encode())],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
def test_events(case: Case) -> None:
    assert events([case.given]) == case.want


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
def test_every_two_way_split_and_byte_by_byte(case: Case) -> None:
    data = case.given
    for cut in range(len(data) + 1):
        assert events([data[:cut], b"", data[cut:]]) == case.want
    assert events([data[i : i + 1] for i in range(len(data))]) == case.want


LINES = st.sampled_from(
    [b"data: x", b"data:y", b"data: \xe2\x80\xa8", b"event: e", b": c", b"", b"", b"", b"id: 1"]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(LINES, ENDS), max_size=30), st.data())
def test_partitions_and_line_ends_do_not_matter(
    lines: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    with_lf = b"".join(line + b"\n" for line, _ in lines)
    want = events([with_lf])
    # A CR right before a line that is empty and ends in LF would be read as one CRLF.
    whole = b"".join(
        line
        + (b"\r\n" if end == b"\r" and i + 1 < len(lines) and lines[i + 1] == (b"", b"\n") else end)
        for i, (line, end) in enumerate(lines)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert events(parts) == want


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_raises_nothing_and_partition_does_not_matter(parts: list[bytes]) -> None:
    assert events(parts, 16) == events([b"".join(parts)], 16)


@pytest.mark.parametrize("step", [1, 7, 64, 4096])
def test_an_event_larger_than_the_limit_is_dropped_and_the_next_is_read(step: int) -> None:
    stream = b"data: a\n\ndata: " + b"x" * 3000 + b"\n\ndata: b\n\n"
    framer = Framer(100)
    found = []
    for start in range(0, len(stream), step):
        found += framer.feed(stream[start : start + step])
        assert len(framer.pending) <= 100 + step
    assert found == [(b"", b"a"), (b"", b"b")]
    assert framer.skipped == 1
    assert not framer.finish()


@pytest.mark.parametrize("size", [93, 94, 95, 96])
def test_the_limit_is_the_same_for_every_partition(size: int) -> None:
    stream = b"data: " + b"x" * size + b"\n\ndata: b\n\n"
    want = events([stream], 100)
    assert len(want) == (2 if size <= 94 else 1)
    for cut in range(len(stream)):
        assert events([stream[:cut], stream[cut:]], 100) == want
    assert events([stream[i : i + 1] for i in range(len(stream))], 100) == want


def test_pending_tells_of_an_unfinished_event() -> None:
    framer = Framer()
    framer.feed(b"data: a\n")
    assert framer.pending
    framer.feed(b"\n")
    assert not framer.pending
