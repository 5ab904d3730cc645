"""HTTP/2: what is read of frames before h2 reads them does not depend on the cut."""

from __future__ import annotations

from muxproxy.doors.http2_protocol import _Frames
from tests.fuzz.wire import cuts

_LIMIT = 64
_PREFACE = bytes(24)
SEEDS = [
    b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\x08\x06\0\0\0\0\0" + bytes(8),
    b"\0\0\x02\x01\x05\0\0\0\x01ab\0\0\x01\0\x01\0\0\0\x01x",
    b"\0\0\x40\0\0\0\0\0\x01" + bytes(64) + b"\0\0\0\0\0\0\0\0\x01",
]
TOKENS = [b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x41", b"\xff\xff\xff", b"\0\0\x01\0\0\0\0\0\x01x", b"\0"]


def _simply(data: bytes) -> tuple[bool, int]:
    idle = 0
    while len(data) >= 9:
        length = int.from_bytes(data[:3], "big")
        if length > _LIMIT:
            return False, idle
        idle += data[3] != 1 and (data[3] != 0 or not length)
        data = data[9 + length :]
    return True, idle


def check(data: bytes) -> None:
    data = data[:2048]
    for size in (len(data) + 24, 1, (data[-1] if data else 0) % 29 + 2):
        frames, fit, idle = _Frames(_LIMIT), True, 0
        for part in cuts(_PREFACE + data, size):
            fit, more = frames.read(part)
            idle += more
            assert len(frames._head) < 9
            if not fit:
                break
        assert (fit, idle) == _simply(data), size
