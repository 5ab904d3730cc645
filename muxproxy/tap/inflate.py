"""Incremental, bounded decompression of what the tap watches; the caller's bytes stay as sent."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

STEP = 64 * 1024  # bytes inflated at a time, so a bomb never stands in memory
FREE = 16 * 1024 * 1024  # inflated bytes before the ratio is looked at
RATIO = 200  # real JSON and SSE deflate by 3 to 40; zlib's worst case is 1,032
CEILING = 512 * 1024 * 1024  # inflated bytes of one body


class Inflater:
    """gzip (several members too) and deflate, zlib-wrapped or raw."""

    __slots__ = ("_coder", "_gzip", "_in", "_out", "failed")

    def __init__(self, encoding: bytes) -> None:
        self._gzip = encoding != b"deflate"
        self._coder: zlib._Decompress | None = None
        self._in = 0
        self._out = 0
        self.failed = False  # not that encoding, or a bomb: nothing more is read

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The inflated bytes, in pieces of at most STEP."""
        self._in += len(data)
        while data and not self.failed:
            coder = self._coder
            if coder is None:
                coder = self._coder = self._open(data)
            try:
                plain = coder.decompress(data, STEP)
            except zlib.error:
                self.failed = True
                return
            self._out += len(plain)
            if self._out > CEILING or (self._out > FREE and self._out > RATIO * self._in):
                self.failed = True
                return
            if plain:
                yield plain
            if coder.eof:
                self._coder = None
                data = coder.unused_data.lstrip(b"\0")  # gzip allows zero padding between members
            else:
                data = coder.unconsumed_tail
                if not plain and not data:
                    return

    def _open(self, data: bytes) -> zlib._Decompress:
        if self._gzip:
            return zlib.decompressobj(31)
        # RFC 9110 8.4.1.2: deflate is zlib-wrapped, yet some servers send it raw.
        return zlib.decompressobj(15 if data[0] & 0x0F == 8 else -15)


def readable(encoding: bytes | None) -> bytes | None:
    """The coding to undo: b"" for none, b"gzip" or b"deflate"; None when the tap cannot read it."""
    coding = (encoding or b"").strip().lower()
    if coding in (b"", b"identity"):
        return b""
    if coding in (b"gzip", b"x-gzip"):
        return b"gzip"
    return b"deflate" if coding == b"deflate" else None
