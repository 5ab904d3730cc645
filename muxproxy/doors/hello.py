"""Whom the first bytes of a tunnel ask for: a ClientHello's server name, or an HTTP Host.

Plain functions over bytes. What is neither, or is malformed, names nobody: no server would serve it
as a provider's API either. An encrypted ClientHello shows its outer name only.
"""

from __future__ import annotations

import re

from muxproxy.doors.head import METHODS
from muxproxy.doors.limits import DoorLimits

_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME = 22, 1, 0
_LONGEST_HELLO = 1 << 16
# A request line, or the beginning of one.
_METHODS = tuple(method.encode("ascii") + b" " for method in sorted(METHODS))
_LINE = re.compile(rb"[A-Z]+ (?:https?://([^/?# ]*))?[^ ]* HTTP/1\.[01]\r?\n", re.IGNORECASE)
_NAME = re.compile(rb"[0-9A-Za-z._:\-]{1,255}")
_HOST = re.compile(rb"\r?\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)


class Incomplete(Exception):
    """More bytes are needed to tell."""


class TooLong(Exception):
    """No end of it in sight: nobody means well who begins like this."""


def is_tls(data: bytes | bytearray) -> bool:
    """Whether a TLS client speaks. `data` is not empty."""
    return data[0] == _HANDSHAKE


def named(data: bytes, limits: DoorLimits) -> str | None:
    """The host asked for; None: none, or not to be seen. Raises Incomplete, TooLong."""
    if not data:
        raise Incomplete
    if is_tls(data):
        return _server_name(data)
    if any(data.startswith(m) or m.startswith(data) for m in _METHODS):
        return _host(data, limits)
    return None


def _host(data: bytes, limits: DoorLimits) -> str | None:
    if b"\n" not in data:
        if len(data) > limits.max_target:
            raise TooLong
        raise Incomplete
    line = _LINE.match(data)
    if line is None:
        return None  # another protocol's words
    end = re.search(rb"\r?\n\r?\n", data)
    if end is None:
        if len(data) > limits.max_head:
            raise TooLong
        raise Incomplete
    found = _HOST.search(data, 0, end.end())
    host = line[1] or (found[1] if found else b"")
    text = host.strip(b" \t").rpartition(b"@")[2]
    bracketed = text.startswith(b"[")
    return _name(text[1:].partition(b"]")[0] if bracketed else text.partition(b":")[0])


def _server_name(data: bytes) -> str | None:
    hello = _reassembled(data)
    if hello is None:
        return None
    try:
        at = 4 + 2 + 32  # header, version, random
        at += 1 + hello[at]  # session id
        at += 2 + int.from_bytes(hello[at : at + 2])  # cipher suites
        at += 1 + hello[at]  # compression methods
        end = at + 2 + int.from_bytes(hello[at : at + 2])
        at += 2
        while at + 4 <= min(end, len(hello)):
            kind = int.from_bytes(hello[at : at + 2])
            size = int.from_bytes(hello[at + 2 : at + 4])
            at += 4
            if kind == _SERVER_NAME and size >= 5:
                length = int.from_bytes(hello[at + 3 : at + 5])
                return _name(hello[at + 5 : at + 5 + length])
            at += size
    except IndexError:
        pass
    return None


def _name(text: bytes) -> str | None:
    """What can be a host's name or address, and may stand in a log line."""
    return text.decode("ascii") if _NAME.fullmatch(text) else None


def _reassembled(data: bytes) -> bytes | None:
    """The first handshake message, out of however many records; None: it is no TLS."""
    message = b""
    at = 0
    while True:
        if len(data) < at + 5:
            raise Incomplete
        size = int.from_bytes(data[at + 3 : at + 5])
        if data[at] != _HANDSHAKE or data[at + 1] != 3 or not size:
            return None
        message += data[at + 5 : at + 5 + size]
        if message and message[0] != _CLIENT_HELLO:
            return None
        whole = 4 + int.from_bytes(message[1:4]) if len(message) >= 4 else 0
        if whole > _LONGEST_HELLO:
            raise TooLong
        if whole and len(message) >= whole:
            return message[:whole]
        if len(data) < at + 5 + size:
            raise Incomplete
        at += 5 + size
