"""Request heads: bytes to a `Head`, or `Refused`. No I/O.

Own rather than llhttp: llhttp's leniency differs between releases and lets through what a server
must refuse (see docs of each check), its callbacks cost more than this does, and a second parser
on the same bytes would be a second opinion. Field lines repeat from request to request, so a
line met before is one dictionary look-up; what is met first is checked byte by byte. Both caches
are bounded and never hold a credential.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from muxproxy.doors.limits import DoorLimits
from muxproxy.doors.refusals import Refused, bad
from muxproxy.headers import SECRET, Headers

Authority = tuple[str, str, int]  # scheme, host (lower case, no brackets), port

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "CONNECT"}
)
CHUNKED = -1  # Head.length of a chunked body

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONTROL = bytes(c for c in (*range(32), 127) if c != 9)  # CR and LF among them
# A target has no fragment, no space, nothing outside ASCII (RFC 9112 3.2, RFC 3986).
_REQUEST_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.([0-9])"
)
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)([^?]*)(?:\?(.*))?", re.S)
# uri-host [":" port] without userinfo. Sub-delimiters and escapes, legal in a reg-name, name no
# host on the Internet, and every rule about Host is simpler without them.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~\-]{1,255})(?::([0-9]{1,5}))?")
# What must not stand in a head whose end has not come yet: it will never be a good one.
BROKEN_START = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# Spelled with an underscore some back ends read these as the real ones.
POSERS = frozenset({b"content_length", b"transfer_encoding"})
_FRAMING = POSERS | {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"}
_CACHE_LINES = 1024
_CACHE_LINE_BYTES = 128
MAX_LENGTH_DIGITS = 18  # fits 63 bits


class RequestLine(msgspec.Struct, frozen=True):
    """The first line. `host` is the Host value that an absolute-form target dictates."""

    method: str
    minor: int
    version: str
    form: Literal["origin", "absolute", "authority", "asterisk"]
    path: str
    raw_path: bytes
    query: bytes
    authority: Authority | None
    host: bytes | None


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request head. `length` is the body's length in bytes, or CHUNKED. `memo` is for its reader,
    who may keep in it what follows from the head's other bytes: see `repeats`."""

    line: RequestLine
    headers: Headers
    length: int
    keep_alive: bool
    expect: bool
    memo: dict[Any, Any] = {}


def split_authority(value: bytes, default_port: int) -> tuple[str, int]:
    """host[:port] -> (lower-case host without brackets, port). Raises Refused."""
    match = _HOST.fullmatch(value)
    if match is None:
        raise bad("the host is malformed")
    host, port = match[1].decode("ascii").lower(), int(match[2] or default_port)
    if not 0 < port < 65536:
        raise bad("the port is out of range")
    return host.strip("[]"), port


def too_large(head: bytes | bytearray, limits: DoorLimits) -> Refused:
    """Why an oversized head is refused: the target, or all of it."""
    if head.find(b"\r\n", 0, limits.max_target) < 0:
        return Refused(414, "target_too_long", "the request target is too long")
    return Refused(431, "headers_too_large", "the request head is too large")


def _path(raw: bytes) -> str:
    if b"%" in raw:
        return unquote_to_bytes(raw).decode("utf-8", "replace")
    return raw.decode("ascii")


class HeadParser:
    """Parses heads one at a time; one per door, for the sake of its caches."""

    __slots__ = (
        "_close",
        "_expect",
        "_host",
        "_hosts",
        "_keep",
        "_length",
        "_limits",
        "_lines",
        "_plain",
        "_te",
    )

    def __init__(self, limits: DoorLimits) -> None:
        self._limits = limits
        self._plain: dict[bytes, tuple[bytes, bytes]] = {}
        self._lines: dict[bytes, RequestLine] = {}
        self._hosts: dict[bytes, None] = {}
        self._host: bytes | None = None
        self._length: int | None = None
        self._te = self._close = self._keep = self._expect = False

    def parse(self, head: bytes) -> Head:
        """`head` is everything before the empty line. Raises Refused."""
        lines = head.split(b"\r\n")
        if len(lines) - 1 > self._limits.max_fields:
            raise Refused(431, "headers_too_large", "too many header fields")
        if len(head.translate(None, CONTROL)) + 2 * len(lines) - 2 != len(head):
            raise bad("a control character or a bare CR or LF in the head")
        first = lines.pop(0)
        line = self._lines.get(first) or self._request_line(first)
        self._host = self._length = None
        self._te = self._close = self._keep = self._expect = False
        known, field = self._plain.get, self._field
        headers = [known(text) or field(text) for text in lines]
        length = self._length or 0
        if self._te:
            if self._length is not None:
                raise bad("Transfer-Encoding and Content-Length together")
            if line.minor == 0:
                raise bad("Transfer-Encoding in HTTP/1.0")
            length = CHUNKED
        if line.minor:
            if self._host is None:
                raise bad("Host is missing")
            keep = not self._close
        else:
            keep = self._keep and not self._close
            self._expect = False  # RFC 9110 10.1.1: ignored in HTTP/1.0
        if line.host is not None:
            # RFC 9112 3.2.2: the target wins over whatever Host says.
            headers = [pair for pair in headers if pair[0] != b"host"]
            headers.insert(0, (b"host", line.host))
        elif line.form == "authority" and (self._length is not None or self._te):
            raise bad("CONNECT with a body")
        return Head(line, headers, length, keep, self._expect)

    def _field(self, line: bytes) -> tuple[bytes, bytes]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, TCHAR):
            if line[:1] in (b" ", b"\t"):
                raise bad("a folded header line")
            raise bad("a malformed header field name")
        name = name.lower()
        pair = (name, value.strip(b" \t"))
        if name in _FRAMING:
            self._framing(name, pair[1])
        elif len(line) <= _CACHE_LINE_BYTES and name not in SECRET:
            if len(self._plain) >= _CACHE_LINES:
                self._plain.clear()
            self._plain[line] = pair
        return pair

    def _framing(self, name: bytes, value: bytes) -> None:
        """Fields that say where the message goes, ends, or what the connection does next."""
        if name == b"content-length":
            if self._length is not None:
                raise bad("more than one Content-Length")
            if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
                raise bad("a malformed Content-Length")
            self._length = int(value)
        elif name == b"host":
            if self._host is not None:
                raise bad("more than one Host")
            if value not in self._hosts:
                split_authority(value, 80)
                if len(self._hosts) >= _CACHE_LINES:
                    self._hosts.clear()
                self._hosts[value] = None
            self._host = value
        elif name == b"connection":
            options = [option.strip() for option in value.lower().split(b",")]
            self._close = self._close or b"close" in options
            self._keep = self._keep or b"keep-alive" in options
        elif name == b"transfer-encoding":
            if self._te or value.lower() != b"chunked":
                raise bad("Transfer-Encoding other than chunked")
            self._te = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Refused(417, "expectation_failed", "an unknown expectation")
            self._expect = True
        else:
            raise bad("a field name that poses as a framing field")

    def _request_line(self, first: bytes) -> RequestLine:
        match = _REQUEST_LINE.fullmatch(first)
        if match is None:
            if len(first) > self._limits.max_target:
                raise Refused(414, "target_too_long", "the request target is too long")
            raise bad("a malformed request line")
        method, target = match[1].decode("ascii"), match[2]
        if match[3] != b"1" or match[4] not in b"01":
            raise Refused(505, "http_version", "only HTTP/1.1 and HTTP/1.0 are served here")
        if method not in METHODS:
            raise Refused(501, "not_implemented", "an unknown method")
        if len(target) > self._limits.max_target:
            raise Refused(414, "target_too_long", "the request target is too long")
        line = _line(method, target, int(match[4]))
        if len(first) <= _CACHE_LINE_BYTES:
            if len(self._lines) >= _CACHE_LINES:
                self._lines.clear()
            self._lines[first] = line
        return line


def _line(method: str, target: bytes, minor: int) -> RequestLine:
    version = "1.1" if minor else "1.0"
    if method == "CONNECT":
        match = _HOST.fullmatch(target)
        if match is None or match[2] is None:
            raise bad("CONNECT wants host:port")
        host, port = split_authority(target, 0)
        return RequestLine(
            method, minor, version, "authority", "", b"", b"", ("", host, port), None
        )
    if target.startswith(b"/"):
        raw, _, query = target.partition(b"?")
        return RequestLine(method, minor, version, "origin", _path(raw), raw, query, None, None)
    if target == b"*":
        if method != "OPTIONS":
            raise bad("the target * is for OPTIONS only")
        return RequestLine(method, minor, version, "asterisk", "*", b"*", b"", None, None)
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise bad("a malformed request target")
    scheme = match[1].decode("ascii").lower()
    if scheme not in ("http", "https"):
        raise bad("a target of a scheme other than http and https")
    host, port = split_authority(match[2], 443 if scheme == "https" else 80)
    raw, query = match[3], match[4] or b""
    if not raw:  # RFC 9112 3.2.4: OPTIONS of a whole server
        raw = b"*" if method == "OPTIONS" and match[4] is None else b"/"
    return RequestLine(
        method, minor, version, "absolute", _path(raw), raw, query, (scheme, host, port), match[2]
    )
