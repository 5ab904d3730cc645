"""Response bytes in, head and body out: strict framing after RFC 9112, sans I/O, on llhttp.

    begin() -> feed(read) ... until `over`

llhttp refuses conflicting lengths, a length beside Transfer-Encoding, bad chunks, bare LF, NUL and
folded lines; this adds what it lets pass: other transfer codings, other protocols and versions,
control characters in a reason, sizes, a second response behind the first, and bodies that end with
the connection.
"""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from muxproxy.headers import Headers

MAX_HEAD = 65536  # bytes of status line and fields, interim responses included
# Bytes of framing (chunk extensions, trailers) without a byte of body between.
MAX_QUIET = 65536
_CONTROL = bytes(c for c in (*range(32), 127) if c != 9)
_END = b"\r\n\r\n"
_STRAY = b"\r\n\r\n\r\n"


class _Fault(Exception):
    """A response that must not be believed; the text is public."""


class Response:
    """The responses of one connection, one after the other.

    After each feed(): `headed` the final head is known (status, reason, headers); `over` nothing
    more belongs to this response, because it is complete, or a `fault` (text) was found, or it
    `upgraded` (101; `leftover` came behind its head). `keep`: it is complete and the connection
    may serve again.
    """

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_complete",
        "_interim",
        "_parser",
        "_pieces",
        "_quiet",
        "_reasons",
        "_unsure",
        "_until_close",
        "_upgradable",
        "fault",
        "head_bytes",
        "headed",
        "headers",
        "keep",
        "leftover",
        "on_body",
        "on_status",
        "over",
        "reason",
        "status",
        "upgraded",
    )

    def __init__(self) -> None:
        # The parser appends straight to these lists: no Python frame per piece.
        self._pieces: list[bytes] = []
        self._reasons: list[bytes] = []
        self.on_body = self._pieces.append
        self.on_status = self._reasons.append
        # None between responses only, when no callback runs: not asserted on each read.
        self._parser: HttpResponseParser | None = None
        self.begin()

    def begin(self, *, bodiless: bool = False, upgradable: bool = False) -> None:
        """Expect a response. `bodiless`: to HEAD; `upgradable`: a 101 was asked for."""
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        self._bodiless = bodiless
        self._upgradable = upgradable
        self._quiet = 0
        self._unsure = self._interim = self._chunked = False
        self._complete = self._until_close = False
        self.head_bytes = 0
        self.status = 0
        self.reason = self.leftover = b""
        self.headers: Headers = []
        self.fault = ""
        self.headed = self.keep = self.over = self.upgraded = False

    def feed(self, data: bytes) -> bytes:
        """One read; gives the body bytes in it, de-chunked (also those before a fault)."""
        if not self.headed:
            if not self.head_bytes and not data.startswith(b"HTTP/1."):
                if not data.startswith(b"H"):  # RTSP/, ICE/ and line breaks, which llhttp takes
                    self.fault = "not HTTP"
                    self.over = True
                    return b""
                self._unsure = True  # cut short, or another version
            self.head_bytes += len(data)
        try:
            self._parser.feed_data(data)  # type: ignore[union-attr]
        except HttpParserUpgrade as upgrade:
            self.leftover = data[upgrade.args[0] :]
        except HttpParserError as error:
            self._reject(error)
        pieces = self._pieces
        if pieces:
            last = pieces[-1]
            body = last if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if self._bodiless:
                self.keep = False
                return b""
            if self._complete:
                self.keep = self.keep and self._ends_with(data, last)
            else:
                self._quiet = 0
            return body
        if self._complete:
            self.keep = self.keep and self._ends_with(data, b"")
        elif not self.over:
            self._without_body(len(data))
        return b""

    def eof(self) -> bool:
        """Whether the connection's orderly end completes the body."""
        return self._until_close and not self.over

    def close(self) -> None:
        """Let go of the parser, and with it of a reference cycle."""
        self._parser = None

    # -- llhttp's callbacks

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Fault("data behind the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            return  # a trailer: it must not be merged into the head (RFC 9110 section 6.5.1)
        name = name.lower()
        if name == b"transfer-encoding":
            # We sent no TE, so nothing but one chunked may come (RFC 9112 section 6.1).
            if self._chunked or value.strip().lower() != b"chunked":
                raise _Fault("a transfer coding that was not asked for")
            self._chunked = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()  # type: ignore[union-attr]
        reasons = self._reasons
        reason = reasons[0] if len(reasons) == 1 else b"".join(reasons)
        if reason != b"OK" and len(reason.translate(None, _CONTROL)) != len(reason):
            raise _Fault("a control character in the reason")
        if status < 200 and self._is_interim(status):
            return
        if self.head_bytes > MAX_HEAD or self._unsure:
            self._second_look()
        self.status, self.reason = status, reason
        reasons.clear()
        if status == 101:
            self.headed = self.upgraded = self.over = True
            return
        keep: bool = parser.should_keep_alive()  # type: ignore[union-attr]
        if not keep:
            self._second_look()
            self._until_close = self._ends_with_connection()
        self.headed = True
        if self._bodiless:
            # llhttp does not know the method and waits for a body: this parser is spent.
            self._parser = None
            self._complete = self.over = True
            self.keep = keep

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.upgraded and not self._complete:
            self._complete = self.over = True
            self.keep = self._parser.should_keep_alive()  # type: ignore[union-attr]

    # -- what llhttp leaves to us

    def _is_interim(self, status: int) -> bool:
        """Whether a head below 200 is to be skipped (RFC 9110 section 15.2)."""
        if status == 101:
            if not self._upgradable:
                raise _Fault("a protocol switch that was not asked for")
            return False
        if status < 100:
            raise _Fault("no valid status code")
        self._interim = True
        self._chunked = False
        self.headers = []
        self._reasons.clear()
        return True

    def _second_look(self) -> None:
        """Checks that a head which came in one piece and keeps the connection need not pass."""
        if self._parser.get_http_version() not in ("1.1", "1.0"):  # type: ignore[union-attr]
            raise _Fault("not HTTP/1.1")
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD:
            raise _Fault("an oversized head")

    def _ends_with_connection(self) -> bool:
        if self.status in (204, 304) or self._bodiless or self._chunked:
            return False
        return all(name != b"content-length" for name, _ in self.headers)

    def _reject(self, error: HttpParserError) -> None:
        if self._complete:
            self.keep = False  # a whole response, with something behind it
            return
        cause = error.__context__
        self.fault = str(cause) if isinstance(cause, _Fault) else str(error)
        self.over = True

    def _without_body(self, size: int) -> None:
        if not self.headed:
            if self.head_bytes > MAX_HEAD:
                self.fault = "an oversized head"
                self.over = True
            return
        self._quiet += size
        if self._quiet > MAX_QUIET:
            self.fault = "framing without end"
            self.over = True

    def _ends_with(self, data: bytes, last: bytes) -> bool:
        """Whether the read ended where the response did: llhttp skips stray line breaks."""
        if last and not self._chunked:
            return data.endswith(last)
        if data.endswith(_END):
            return not data.endswith(_STRAY)
        return _END.endswith(data)
