"""WebSocket frames of a provider: any cut gives the same messages; little is held."""

from __future__ import annotations

from muxproxy.tap.websocket import Messages
from tests.fuzz.wire import cuts

SEEDS = [
    b"\x81\x05hello\x89\x00\x01\x02ab\x80\x02cd\x88\x02\x03\xe8",
    b"\x82\x7e\x01\x00" + bytes(256) + b"\x81\x00",
    b"\x81\x7f\0\0\0\0\0\x20\0\0abc",
]
TOKENS = [b"\x81\x02{}", b"\x01\x01a", b"\x80\x01b", b"\x89\0", b"\x88\0", b"\x82\x7f", b"\xc1\x80"]


def check(data: bytes) -> None:
    data = data[:4096]
    told = []
    for size in (len(data) or 1, 1, (data[-1] if data else 0) % 29 + 2):
        messages, found = Messages(), []
        for part in cuts(data, size):
            found += messages.feed(part)
            assert len(messages._buffer) <= 4096
        told.append((found, messages.broken, messages.between))
    assert told[0] == told[1] == told[2], told
