"""Heads that repeat: an SDK's connection sends the same head again, but for the body's length.

What differs in no byte, or only in the digits of Content-Length, means what it meant before. So
such a head is not parsed again, and what its reader worked out from it (`Head.memo`) still holds.
A connection remembers its last head only, and forgets it when it closes.
"""

from __future__ import annotations

import re

import msgspec

from muxproxy.doors.head import MAX_LENGTH_DIGITS, Head, HeadParser

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)


class Repeats:
    """The last head of one connection."""

    __slots__ = ("_after", "_at", "_before", "_head", "_raw")

    def __init__(self) -> None:
        self._raw = b""
        self._head: Head | None = None
        self._at = -1  # where Content-Length stands among the fields; -1: nowhere
        self._before = self._after = b""  # the head's bytes around its digits

    def parse(self, raw: bytes, parser: HeadParser) -> Head:
        """As HeadParser.parse. Raises Refused."""
        head = self._head
        if head is not None:
            if raw == self._raw:
                return head
            if self._at >= 0 and raw.startswith(self._before) and raw.endswith(self._after):
                digits = raw[len(self._before) : len(raw) - len(self._after)]
                if digits.isdigit() and len(digits) <= MAX_LENGTH_DIGITS:
                    return self._resized(head, raw, digits)
        head = self._head = parser.parse(raw)
        self._raw = raw
        self._at = -1
        if head.length > 0:
            found = _LENGTH.search(raw)
            if found is not None:  # the parser has seen to it that there is one
                self._before, self._after = raw[: found.start(1)], raw[found.end(1) :]
                self._at = [name for name, _ in head.headers].index(b"content-length")
        return head

    def _resized(self, head: Head, raw: bytes, digits: bytes) -> Head:
        """The same head with another length."""
        headers = head.headers.copy()
        headers[self._at] = (b"content-length", digits)
        head = msgspec.structs.replace(head, headers=headers, length=int(digits))
        self._raw, self._head = raw, head
        return head
