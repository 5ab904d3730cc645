"""HTTP/1.1 for the simulated providers: reading requests, framing replies.

Written without the product's parser on purpose: a shared bug would cancel itself out. Strict in
what it takes (a malformed request is a fault of the proxy under test, and is answered 400), exact
in what it keeps: header names, their case, order and duplicates stay as received.
"""

from dataclasses import dataclass
from http import HTTPStatus

# Ample for any SDK; a proxy that lets more through has no header limit.
MAX_HEAD = 64 * 1024
MAX_BODY = 256 * 1024 * 1024
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_HEADS_KEPT = 512

Headers = list[tuple[bytes, bytes]]


class BadRequest(Exception):
    """What arrived is not one HTTP/1.1 request; the text says why."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


@dataclass(slots=True, frozen=True)
class Head:
    """A request head. `headers` as received; `sim` holds the `x-sim-*` ones, names cut, lower."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    length: int
    chunked: bool
    expects: bool
    keep_alive: bool
    sim: tuple[tuple[str, str], ...]

    def get(self, name: bytes) -> bytes | None:
        """The first value of the header `name` (lower case), or None."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


def text_of(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _request_line(line: bytes) -> tuple[str, str, str]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadRequest(f"request line {line[:80]!r} has not three parts")
    method, target, version = parts
    if not method or not _TOKEN.issuperset(method):
        raise BadRequest(f"method {method[:40]!r} is not a token")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest(f"version {version[:20]!r}", 505)
    if not target or any(byte <= 32 or byte == 127 for byte in target):
        raise BadRequest(f"target {target[:80]!r}")
    return method.decode(), text_of(target), version.decode()


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or not _TOKEN.issuperset(name):
        raise BadRequest(f"header line {line[:80]!r}")
    value = value.strip(b" \t")
    if b"\r" in value or b"\n" in value or b"\0" in value:
        raise BadRequest(f"control byte in header {name!r}")
    return name, value


def _length(values: list[bytes]) -> int:
    if not values:
        return 0
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 15:
        raise BadRequest(f"content-length {values!r}")
    length = int(values[0])
    if length > MAX_BODY:
        raise BadRequest(f"content-length {length} is over the limit", 413)
    return length


def parse_head(raw: bytes) -> Head:
    """`raw` is the head without its final empty line. Raises BadRequest."""
    lines = raw.split(b"\r\n")
    method, target, version = _request_line(lines[0])
    headers = tuple(_field(line) for line in lines[1:])
    lengths: list[bytes] = []
    codings: list[bytes] = []
    hosts = 0
    expects = False
    keep_alive = version == "HTTP/1.1"
    sim: list[tuple[str, str]] = []
    for name, value in headers:
        key = name.lower()
        if key == b"content-length":
            lengths.append(value)
        elif key == b"transfer-encoding":
            codings.append(value.lower())
        elif key == b"host":
            hosts += 1
        elif key == b"expect":
            expects = value.lower() == b"100-continue"
        elif key == b"connection":
            options = [part.strip() for part in value.lower().split(b",")]
            keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
        elif key.startswith(b"x-sim-"):
            sim.append((key[6:].decode("latin-1"), text_of(value)))
    if codings and (codings != [b"chunked"] or lengths):
        raise BadRequest(f"transfer-encoding {codings!r} with content-length {lengths!r}")
    if hosts != 1 and version == "HTTP/1.1":
        raise BadRequest(f"{hosts} host headers")
    return Head(
        method=method,
        target=target,
        version=version,
        headers=headers,
        length=_length(lengths),
        chunked=bool(codings),
        expects=expects,
        keep_alive=keep_alive,
        sim=tuple(sim),
    )


class Reader:
    """Cuts the bytes of one connection into requests.

    `feed` bytes, then call `next_head` until it gives a head, then `next_body` until it gives
    bytes. `heads` caches parsed heads, shared by all connections of a server: a load client
    repeats itself, and parsing is most of a plain request's cost.
    """

    __slots__ = ("_body", "_buffer", "_got", "_head", "_heads", "_left", "_trailer")

    def __init__(self, heads: dict[bytes, Head]) -> None:
        self._buffer = b""
        self._heads = heads
        self._head: Head | None = None
        self._body: list[bytes] = []
        self._left = -1  # bytes left in the chunk being read; -1: a size line is next
        self._got = 0  # chunked bytes announced so far
        self._trailer = False

    def feed(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data

    @property
    def pending(self) -> bool:
        return bool(self._buffer)

    def next_head(self) -> Head | None:
        """The next request's head, or None while it is incomplete. Raises BadRequest."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD:
                raise BadRequest("head over the limit", 431)
            return None
        raw = buffer[:end]
        head = self._heads.get(raw)
        if head is None:
            head = parse_head(raw)
            if len(self._heads) >= _HEADS_KEPT:
                self._heads.clear()
            self._heads[raw] = head
        self._buffer = buffer[end + 4 :]
        self._head = head
        return head

    def next_body(self) -> bytes | None:
        """The body of the head given last, or None while it is incomplete. Raises BadRequest."""
        head = self._head
        assert head is not None
        if head.chunked:
            return self._chunked()
        if head.length == 0:
            return b""
        have = len(self._buffer)
        if not self._body and have >= head.length:
            body, self._buffer = self._buffer[: head.length], self._buffer[head.length :]
            return body
        return self._collect(head.length)

    def _collect(self, length: int) -> bytes | None:
        # Pieces are kept apart and joined once: a 64 MiB upload must not be copied per read.
        if self._left < 0:
            self._left = length
        piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._body.append(piece)
        self._left -= len(piece)
        if self._left:
            return None
        return self._take()

    def _take(self) -> bytes:
        body = b"".join(self._body)
        self._body = []
        self._left = -1
        self._got = 0
        self._trailer = False
        return body

    def _chunked(self) -> bytes | None:
        buffer = self._buffer
        at = 0
        try:
            while True:
                if self._left > 0:
                    piece = buffer[at : at + self._left]
                    self._body.append(piece)
                    at += len(piece)
                    self._left -= len(piece)
                    if self._left:
                        return None
                if self._left == 0:
                    if len(buffer) - at < 2:
                        return None
                    if buffer[at : at + 2] != b"\r\n":
                        raise BadRequest("chunk without its CRLF")
                    at += 2
                    self._left = -1
                end = buffer.find(b"\r\n", at)
                if end < 0:
                    if len(buffer) - at > 4096:
                        raise BadRequest("chunk line over the limit")
                    return None
                line = buffer[at:end]
                at = end + 2
                if self._trailer:
                    if not line:
                        return self._take()
                    _field(line)
                    continue
                self._size(line)
        finally:
            self._buffer = buffer[at:]

    def _size(self, line: bytes) -> None:
        digits = line.partition(b";")[0].rstrip(b" \t")
        if not digits or len(digits) > 15 or not _HEX.issuperset(digits):
            raise BadRequest(f"chunk size {line[:40]!r}")
        size = int(digits, 16)
        self._got += size
        if self._got > MAX_BODY:
            raise BadRequest("body over the limit", 413)
        if size:
            self._left = size
        else:
            self._trailer = True


def reason(status: int) -> str:
    if status == 529:  # Anthropic's own
        return "Overloaded"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def render_head(status: int, headers: Headers, version: str = "HTTP/1.1") -> bytes:
    lines = [f"{version} {status} {reason(status)}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk around `data`."""
    return b"%x\r\n%b\r\n" % (len(data), data)
