"""Request bodies: counted (Content-Length) and chunked (RFC 9112 section 7.1), strictly. No I/O.

Both feed on any slicing. `feed(data, out)` appends body bytes to `out` and returns -1 while the
body goes on, else the offset in `data` of the first byte after it. Trailers are checked and
thrown away: nothing downstream reads them, and merging them into the headers is how framing
fields get smuggled.
"""

from __future__ import annotations

import math
import re

from muxproxy.doors.head import TCHAR
from muxproxy.doors.refusals import Refused, bad

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*+;[ \t]*+"
    + _TOKEN
    + rb"(?:[ \t]*+=[ \t]*+(?:"
    + _TOKEN
    + rb"|"
    + _QUOTED
    + rb"))?)*"
)
_VALUE_CONTROL = bytes(c for c in (*range(32), 127) if c != 9)
_HEX = b"0123456789abcdefABCDEF"
_MAX_LINE = 1024  # one size line with its extensions, or one trailer line
_MAX_EXTRA = 64 << 10  # extensions and trailers of one body together

_SIZE, _DATA, _GAP, _TRAILER, _DONE = range(5)


class Paced:
    """How a body comes in: one byte now and then must not hold a connection for ever."""

    __slots__ = ("_began", "_got")

    def __init__(self) -> None:
        self._began = math.inf
        self._got = 0

    def until(self, now: float, more: int, timeout: float, rate: int) -> float:
        """When the next bytes must be there, `more` having come in."""
        if self._began == math.inf:
            self._began, self._got = now, 0
        self._got += more
        return min(now, self._began + self._got / rate) + timeout if rate else now + timeout

    def paused(self) -> None:
        """We stopped reading: what follows is counted anew."""
        self._began = math.inf


class CountedBody(Paced):
    """A body of known length."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length

    def feed(self, data: bytes, out: list[bytes]) -> int:
        size, left = len(data), self._left
        if size < left:
            self._left = left - size
            if data:
                out.append(data)
            return -1
        out.append(data if size == left else data[:left])
        return left


class ChunkedBody(Paced):
    """Raises Refused at the first fault."""

    __slots__ = ("_extra", "_left", "_limit", "_line", "_state", "_total")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._line = b""
        self._state = _SIZE
        self._left = self._total = self._extra = 0

    def feed(self, data: bytes, out: list[bytes]) -> int:
        at, size = 0, len(data)
        while at < size:
            if self._state == _DATA:
                piece = data[at : at + self._left]
                out.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _GAP
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._hold(data[at:])
                return -1
            line = self._line + data[at : end + 1]
            self._line = b""
            at = end + 1
            if len(line) > _MAX_LINE:
                raise bad("an overlong chunk line")
            if line[-2:] != b"\r\n":
                raise bad("a bare LF in a chunked body")
            self._take(line[:-2])
            if self._state == _DONE:
                return at
        return -1

    def _hold(self, part: bytes) -> None:
        """Keeps an unfinished line, unless nothing good can come of it."""
        line = self._line = self._line + part
        if len(line) > _MAX_LINE:
            raise bad("an overlong chunk line")
        if self._state == _GAP and line != b"\r":
            raise bad("chunk data longer than its size")
        if self._state == _SIZE and line[0] not in _HEX:
            raise bad("a malformed chunk size")
        if b"\r" in line[:-1] or b"\0" in line:
            raise bad("a bare CR or NUL in a chunked body")

    def _take(self, line: bytes) -> None:
        if self._state == _GAP:
            if line:
                raise bad("chunk data longer than its size")
            self._state = _SIZE
        elif self._state == _SIZE:
            self._size(line)
        elif not line:
            self._state = _DONE
        else:
            name, colon, value = line.partition(b":")
            bad_value = len(value.translate(None, _VALUE_CONTROL)) != len(value)
            if not colon or not name or name.translate(None, TCHAR) or bad_value:
                raise bad("a malformed trailer field")
            self._count(len(line))

    def _size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise bad("a malformed chunk size or extension")
        digits = match[1]
        self._count(len(line) - len(digits))
        size = int(digits, 16)
        self._total += size
        if self._total > self._limit:
            raise Refused(413, "body_too_large", "the request body is too large")
        self._left = size
        self._state = _DATA if size else _TRAILER

    def _count(self, extra: int) -> None:
        self._extra += extra
        if self._extra > _MAX_EXTRA:
            raise bad("too many chunk extensions or trailers")
