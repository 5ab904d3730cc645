"""Frames into messages, however they are cut."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.tap.websocket import BINARY, CLOSE, LONGEST, PING, TEXT, Messages, frame


def part(kind: int, payload: bytes, last: bool) -> bytes:
    data = bytearray(frame(kind, payload))
    if not last:
        data[0] &= 0x7F
    return bytes(data)


STREAM = b"".join(
    [
        frame(TEXT, b"hello"),
        frame(TEXT, b""),
        part(TEXT, b"in ", False),
        frame(PING, b"amid"),
        part(0, b"three ", False),
        part(0, b"parts", True),
        frame(BINARY, bytes(70_000)),
        frame(TEXT, b"x" * 200),
        frame(CLOSE, b"\x03\xe8"),
    ]
)
EXPECTED = [
    (TEXT, b"hello"),
    (TEXT, b""),
    (PING, b"amid"),
    (TEXT, b"in three parts"),
    (BINARY, bytes(70_000)),
    (TEXT, b"x" * 200),
    (CLOSE, b"\x03\xe8"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 10**6])
def test_messages_however_they_are_cut(size: int) -> None:
    messages = Messages()
    found = []
    for at in range(0, len(STREAM), size):
        found += messages.feed(STREAM[at : at + size])
    assert found == EXPECTED
    assert messages.between and not messages.broken


@pytest.mark.parametrize("size", [1000, 65536, 10**7])
@pytest.mark.parametrize("pieces", [1, 3])
def test_what_is_too_long_is_not_kept(size: int, pieces: int) -> None:
    each = LONGEST // pieces + 1
    data = b"".join(
        part(BINARY if i == 0 else 0, bytes(each), i == pieces - 1) for i in range(pieces)
    )
    data += frame(TEXT, b"next")
    messages = Messages()
    found = []
    for at in range(0, len(data), size):
        found += messages.feed(data[at : at + size])
        assert len(messages._buffer) <= LONGEST + size + 16
    assert found == [(BINARY, None), (TEXT, b"next")]


@pytest.mark.parametrize(
    "data",
    [b"\xc1\x00", b"\x81\x85abcdhello", b"\x08\x00", b"\x89\x7e\x00\x80"],
    ids=["compressed", "masked", "close in parts", "long ping"],
)
def test_what_is_no_plain_websocket(data: bytes) -> None:
    messages = Messages()
    assert messages.feed(data) == [] and messages.broken
    assert messages.feed(STREAM) == []


def test_between_is_only_where_a_message_may_be_put_in() -> None:
    messages = Messages()
    messages.feed(frame(TEXT, b"a")[:-1])
    assert not messages.between
    messages.feed(b"a")
    assert messages.between
    messages.feed(part(TEXT, b"a", False))
    assert not messages.between


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    Messages().feed(data)
    Messages().feed(os.urandom(4) + data)
