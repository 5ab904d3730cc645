"""A tunnel's first bytes: they name a host, or nobody."""

from __future__ import annotations

from muxproxy.doors import DoorLimits
from muxproxy.doors.hello import Incomplete, TooLong, named

SEEDS = [
    b"GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
    b"POST http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n",
    bytes.fromhex(
        "16030100500100004c0303" + "00" * 32 + "00000213010100002100000010000e00000b"
        "6170692e612e74657374002b0003020304000a00040002001d"
    ),
]
TOKENS = [
    *(
        b"\x16\x03\x01",
        b"\x16\x03\x03\0\x05",
        b"\0\0",
        b"\xff\xff",
        b"Host: ",
        b"\r\n\r\n",
        b"GET ",
    ),
    *(b"\0\x0bapi.a.test", b"HTTP/1.1\r\n", b"\0\x2b", b"\x01\0\0"),
]
_LIMITS = DoorLimits(max_head=300, max_target=100)


def _told(data: bytes) -> str | None:
    try:
        return named(data, _LIMITS)
    except Incomplete:
        return "..."
    except TooLong:
        return "!"


def check(data: bytes) -> None:
    data = data[:4096]
    told = ["..."]
    for end in range(1, len(data) + 1) if len(data) < 400 else (len(data) // 2, len(data)):
        if told[-1] == "...":
            told.append(_told(data[:end]))
    last = told[-1]
    if last not in (None, "...", "!") and not last.isprintable():
        raise AssertionError(last)
