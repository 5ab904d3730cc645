"""Bodies that are not server-sent events: JSON documents, JSON lines, JSON arrays, AWS frames.

Sans I/O; each takes bytes as they come and gives `(name, payload)` pairs, as `sse.Framer` does,
with bounded memory and the same result for any partition of the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import Protocol

import msgspec

from muxproxy.sse import LIMIT, Event
from muxproxy.tap.events import UNREADABLE

DOCUMENT = 1024 * 1024  # bytes of a JSON answer kept whole; above it, large members are left out
MEMBER = 64 * 1024  # bytes of a top-level member kept of a larger document
KEPT = 256 * 1024  # bytes of such members together

_STRING = re.compile(rb'["\\]')
_TOP = re.compile(rb'["{}\[\],]')
_DEEP = re.compile(rb'["{}\[\]]')  # no commas: arrays of numbers cost one step
_QUOTE, _BACKSLASH, _COMMA = b'"', b"\\", b","
_OPENING = (b"{", b"[")


class Framing(Protocol):
    """Cuts bytes into events; `sse.Framer` is one too."""

    def feed(self, data: bytes) -> list[Event]: ...
    def finish(self) -> list[Event]: ...


class Lines:
    """JSON lines: `application/x-ndjson`, `application/stream+json`."""

    __slots__ = ("_limit", "_skipping", "_tail")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Event]:
        """The lines that `data` completes, blank ones left out."""
        *lines, rest = data.split(b"\n")
        events: list[Event] = []
        for line in lines:
            if self._tail:
                line = bytes(self._tail) + line  # noqa: PLW2901
                self._tail.clear()
            if self._skipping or len(line) > self._limit:
                self._skipping = False
            elif line := line.strip():
                events.append((b"", line))
        if not self._skipping:
            self._tail += rest
            if len(self._tail) > self._limit:
                self._skipping = True
                self._tail.clear()
        return events

    def finish(self) -> list[Event]:
        """The last line, when no line end came behind it."""
        line = bytes(self._tail).strip()
        self._tail.clear()
        return [(b"", line)] if line else []


class Elements:
    """The objects of a JSON array as they complete (Gemini's stream without alt=sse)."""

    __slots__ = ("_depth", "_escaped", "_item", "_limit", "_string", "ended")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._item = bytearray()  # the object being read
        self._depth = 0  # 1 inside the array, 2 inside an object of it
        self._string = False
        self._escaped = False
        self.ended = False  # the array's closing bracket was seen

    def feed(self, data: bytes) -> list[Event]:
        """The objects that `data` completes."""
        events: list[Event] = []
        start = pos = 0
        if self._escaped and data:
            self._escaped = False
            pos = 1
        while True:
            match = (_STRING if self._string else _DEEP).search(data, pos)
            if match is None:
                break
            pos = match.end()
            mark = match.group()
            if self._string:
                if mark == _QUOTE:
                    self._string = False
                elif pos == len(data):
                    self._escaped = True
                else:
                    pos += 1
            elif mark == _QUOTE:
                self._string = True
            elif mark in _OPENING:
                self._depth += 1
                if self._depth == 2:
                    start = pos - 1
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._keep(data[start:pos])
                    if len(self._item) <= self._limit:
                        events.append((b"", bytes(self._item)))
                    self._item.clear()
                elif self._depth == 0:
                    self.ended = True
        if self._depth >= 2:
            self._keep(data[start:])
        return events

    def _keep(self, data: bytes) -> None:
        if len(self._item) <= self._limit:
            self._item += data[: self._limit + 1 - len(self._item)]

    def finish(self) -> list[Event]:
        """Nothing: an object without its end is not read."""
        return []


class Document:
    """One JSON document, given whole by `finish()`; above DOCUMENT bytes without its large members.

    `complete` tells whether the document's end was seen (known after `finish()`).
    """

    __slots__ = ("_parts", "_size", "_skim", "complete")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._skim: Skimmer | None = None
        self.complete = False

    def feed(self, data: bytes) -> list[Event]:
        """Nothing yet: a document is read at its end."""
        if self._skim is not None:
            self._skim.feed(data)
            return []
        self._parts.append(data)
        self._size += len(data)
        if self._size > DOCUMENT:
            self._skim = Skimmer()
            for part in self._parts:
                self._skim.feed(part)
            self._parts.clear()
        return []

    def finish(self) -> list[Event]:
        """The document; when it is really JSON lines (the content type lied), its lines."""
        if self._skim is not None:
            whole = self._skim.result()
            self.complete = bool(whole)
            return [(b"", whole)] if whole else []
        whole = b"".join(self._parts).strip()
        self._parts.clear()
        if _is_json(whole):
            self.complete = True
            return [(b"", whole)]
        lines = [line for line in (raw.strip() for raw in whole.split(b"\n")) if line]
        good = [line for line in lines if _is_json(line)]
        self.complete = bool(lines) and len(good) == len(lines)
        return [(b"", line) for line in good]


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return True


class Skimmer:
    """The small top-level members of a JSON object too large to keep (embeddings, images)."""

    __slots__ = ("_depth", "_escaped", "_kept", "_lost", "_member", "_members", "_string", "ended")

    def __init__(self) -> None:
        self._depth = 0
        self._string = False
        self._escaped = False
        self._member = bytearray()
        self._lost = False  # the member being read outgrew MEMBER
        self._members: list[bytes] = []
        self._kept = 0
        self.ended = False

    def feed(self, data: bytes) -> None:
        """Reads on; at depth 1 a comma or the closing brace ends a member."""
        start = pos = 0
        if self._escaped and data:
            self._escaped = False
            pos = 1
        while not self.ended:
            pattern = _STRING if self._string else _TOP if self._depth == 1 else _DEEP
            match = pattern.search(data, pos)
            if match is None:
                break
            pos = match.end()
            mark = match.group()
            if self._string:
                if mark == _QUOTE:
                    self._string = False
                elif pos == len(data):
                    self._escaped = True
                else:
                    pos += 1
            elif mark == _QUOTE:
                self._string = True
            elif mark in _OPENING:
                self._depth += 1
                if self._depth == 1:
                    start = pos
            elif mark == _COMMA:
                self._end_member(data[start : pos - 1])
                start = pos
            else:
                self._depth -= 1
                if self._depth == 0:
                    self._end_member(data[start : pos - 1])
                    self.ended = True
        if self._depth and not self.ended:
            self._keep(data[start:])

    def result(self) -> bytes:
        """A JSON object of the members kept; b"" when the document's end was not seen."""
        return b"{" + b",".join(self._members) + b"}" if self.ended else b""

    def _keep(self, data: bytes) -> None:
        if not self._lost:
            self._member += data
            if len(self._member) > MEMBER:
                self._lost = True
                self._member.clear()

    def _end_member(self, data: bytes) -> None:
        self._keep(data)
        if not self._lost and self._kept + len(self._member) <= KEPT:
            self._kept += len(self._member)
            if member := bytes(self._member).strip():
                self._members.append(member)
        self._member.clear()
        self._lost = False


class AwsFrames:
    """`application/vnd.amazon.eventstream`: prelude, headers, payload, CRC.

    The name is `:event-type`, or `:exception-type` with a leading "!". A payload
    `{"bytes": base64}` (invoke-with-response-stream) is given decoded.
    """

    __slots__ = ("_limit", "_skip", "_tail", "broken")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._skip = 0  # bytes of an oversized frame still to come
        self.broken = False  # a prelude's checksum was wrong: nothing more is read

    def feed(self, data: bytes) -> list[Event]:
        """The frames that `data` completes."""
        events: list[Event] = []
        if self.broken:
            return events
        if self._skip:
            taken = min(self._skip, len(data))
            self._skip -= taken
            data = data[taken:]
        tail = self._tail
        tail += data
        while len(tail) >= 12:
            size = int.from_bytes(tail[:4], "big")
            heads = int.from_bytes(tail[4:8], "big")
            crc = int.from_bytes(tail[8:12], "big")
            if zlib.crc32(tail[:8]) != crc or size < heads + 16:
                self.broken = True
                tail.clear()
                break
            if size > self._limit:
                self._skip = max(0, size - len(tail))
                del tail[:size]
                continue
            if len(tail) < size:
                break
            frame = bytes(tail[:size])
            del tail[:size]
            events.append((_frame_name(frame[12 : 12 + heads]), _unwrap(frame[12 + heads : -4])))
        return events

    def finish(self) -> list[Event]:
        """Nothing: a cut frame is not read."""
        return []


def _frame_name(heads: bytes) -> bytes:
    """The event's type out of the header block (name length, name, type 7 = string, value)."""
    kind = b""
    pos = 0
    while pos < len(heads):
        size = heads[pos]
        name = heads[pos + 1 : pos + 1 + size]
        pos += 1 + size
        if heads[pos : pos + 1] != b"\x07":  # only strings are sent in these streams
            break
        length = int.from_bytes(heads[pos + 1 : pos + 3], "big")
        value = heads[pos + 3 : pos + 3 + length]
        pos += 3 + length
        if name == b":event-type":
            kind = value
        elif name in (b":exception-type", b":error-code"):
            return b"!" + value
    return kind


class _Wrapped(msgspec.Struct, gc=False):
    bytes: str | None = None


_WRAPPED = msgspec.json.Decoder(_Wrapped)


def _unwrap(payload: bytes) -> bytes:
    if not payload.startswith(b'{"bytes"'):
        return payload
    try:
        inner = _WRAPPED.decode(payload).bytes
        return payload if inner is None else base64.b64decode(inner, validate=True)
    except (*UNREADABLE, binascii.Error):
        return payload
