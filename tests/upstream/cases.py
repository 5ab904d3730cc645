"""Responses as they may stand on the wire, with what must be made of them."""

from dataclasses import dataclass

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """`keep`: the connection may be used again. `close`: the server closes after `wire`.
    `body` None: send() fails; `broken`: the body breaks after `body`."""

    name: str
    wire: bytes
    body: bytes | None = b""
    status: int = 200
    keep: bool = True
    broken: bool = False
    close: bool = False
    method: bytes = b"POST"

    @property
    def clean(self) -> bool:
        return self.body is not None and not self.broken


def _head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((status, *lines, b"", b""))


CASES = [
    # -- complete and reusable
    Case("content-length", _head(b"Content-Length: 2") + b"hi", b"hi"),
    Case("content-length zero", _head(b"Content-Length: 0")),
    Case("content-length with blanks", _head(b"Content-Length:  2 ") + b"hi", b"hi"),
    Case(
        "body that ends in line breaks",
        _head(b"Content-Length: 6") + b"a\r\n\r\n\n",
        b"a\r\n\r\n\n",
    ),
    Case(
        "chunked", CHUNKED + b"2\r\nhi\r\n3\r\n you\r\n0\r\n\r\n".replace(b" you", b"you"), b"hiyou"
    ),
    Case("chunked and empty", CHUNKED + b"0\r\n\r\n"),
    Case(
        "chunked, other case", _head(b"Transfer-Encoding: Chunked") + b"2\r\nhi\r\n0\r\n\r\n", b"hi"
    ),
    Case("chunk extensions", CHUNKED + b'2;a=b;c="d"\r\nhi\r\n0;x\r\n\r\n', b"hi"),
    Case(
        "hex in both cases",
        CHUNKED + b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789" * 2,
    ),
    Case("leading zeros", CHUNKED + b"0002\r\nhi\r\n000\r\n\r\n", b"hi"),
    Case("a terminator inside the data", CHUNKED + b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    Case(
        "a done marker is no end",
        CHUNKED + b"e\r\ndata: [DONE]\n\n\r\n1\r\nx\r\n0\r\n\r\n".replace(b"e\r\n", b"e\r\n"),
        b"data: [DONE]\n\nx",
    ),
    Case("trailers", CHUNKED + b"2\r\nhi\r\n0\r\nx-t: 1\r\nset-cookie: a\r\n\r\n", b"hi"),
    Case("no reason", _head(b"content-length: 2", status=b"HTTP/1.1 200 ") + b"hi", b"hi"),
    Case("no reason, no space", _head(b"content-length: 2", status=b"HTTP/1.1 200") + b"hi", b"hi"),
    Case("204", _head(status=b"HTTP/1.1 204 No Content"), status=204),
    Case("204 with a length", _head(b"content-length: 5", status=b"HTTP/1.1 204 N"), status=204),
    Case("304 with a length", _head(b"content-length: 5", status=b"HTTP/1.1 304 N"), status=304),
    Case(
        "304 that says chunked",
        _head(b"transfer-encoding: chunked", status=b"HTTP/1.1 304 N"),
        status=304,
    ),
    Case("HEAD with a length", _head(b"content-length: 5"), method=b"HEAD"),
    Case("HEAD that says chunked", CHUNKED, method=b"HEAD"),
    Case(
        "100 first",
        _head(status=b"HTTP/1.1 100 Continue") + _head(b"content-length: 2") + b"hi",
        b"hi",
    ),
    Case(
        "103, 102, 104 first",
        _head(b"link: </a>", b"content-length: 9", status=b"HTTP/1.1 103 Early Hints")
        + _head(status=b"HTTP/1.1 102 Processing")
        + _head(status=b"HTTP/1.1 104 X")
        + _head(b"content-length: 2")
        + b"hi",
        b"hi",
    ),
    Case(
        "1.0 kept alive",
        _head(b"connection: keep-alive", b"content-length: 2", status=b"HTTP/1.0 200 OK") + b"hi",
        b"hi",
    ),
    Case(
        "an offer to upgrade",
        _head(b"upgrade: h2c", b"connection: upgrade", b"content-length: 2") + b"hi",
        b"hi",
    ),
    Case("status 599", _head(b"content-length: 0", status=b"HTTP/1.1 599 Odd"), status=599),
    # -- complete, not reusable
    Case(
        "connection close",
        _head(b"connection: close", b"content-length: 2") + b"hi",
        b"hi",
        keep=False,
    ),
    Case(
        "close in a list",
        _head(b"connection: x, Close", b"content-length: 2") + b"hi",
        b"hi",
        keep=False,
    ),
    Case(
        "chunked and close",
        CHUNKED[:-2] + b"connection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"hi",
        keep=False,
    ),
    Case(
        "close in a trailer",
        CHUNKED + b"2\r\nhi\r\n0\r\nconnection: close\r\n\r\n",
        b"hi",
        keep=False,
    ),
    Case("1.0", _head(b"content-length: 2", status=b"HTTP/1.0 200 OK") + b"hi", b"hi", keep=False),
    Case("until close", _head() + b"hi", b"hi", keep=False, close=True),
    Case("until close, nothing", _head(), b"", keep=False, close=True),
    Case(
        "until close, 1.0", _head(status=b"HTTP/1.0 200 OK") + b"hi", b"hi", keep=False, close=True
    ),
    Case("HEAD without a length", _head(), method=b"HEAD", keep=False),
    Case(
        "HEAD with a body all the same",
        _head(b"content-length: 2") + b"hi",
        method=b"HEAD",
        keep=False,
    ),
    Case(
        "204 with a body all the same",
        _head(b"content-length: 2", status=b"HTTP/1.1 204 N") + b"hi",
        status=204,
        keep=False,
    ),
    # -- cut short
    Case(
        "cut before the length", _head(b"content-length: 5") + b"hi", b"hi", broken=True, close=True
    ),
    Case(
        "cut before the length, close",
        _head(b"content-length: 5", b"connection: close") + b"hi",
        b"hi",
        broken=True,
        close=True,
    ),
    Case("cut without the last chunk", CHUNKED + b"2\r\nhi\r\n", b"hi", broken=True, close=True),
    Case("cut within a chunk", CHUNKED + b"5\r\nhi", b"hi", broken=True, close=True),
    Case(
        "cut within the last chunk", CHUNKED + b"2\r\nhi\r\n0\r\n", b"hi", broken=True, close=True
    ),
    Case(
        "cut after a done marker",
        CHUNKED + b"e\r\ndata: [DONE]\n\n\r\n",
        b"data: [DONE]\n\n",
        broken=True,
        close=True,
    ),
    Case("cut within the head", b"HTTP/1.1 200 OK\r\ncontent-le", None, close=True),
    Case("cut within the status line", b"HTT", None, close=True),
    Case("cut after 100", _head(status=b"HTTP/1.1 100 Continue"), None, close=True),
    # -- a body that turns bad
    Case("bad chunk size", CHUNKED + b"2\r\nhi\r\nzz\r\n", b"hi", broken=True),
    Case("negative chunk size", CHUNKED + b"-2\r\nhi\r\n", b"", broken=True),
    Case("chunk size with 0x", CHUNKED + b"0x2\r\nhi\r\n", b"", broken=True),
    Case("blank behind a chunk size", CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n", b"", broken=True),
    Case("no break behind a chunk", CHUNKED + b"2\r\nhiXX0\r\n\r\n", b"hi", broken=True),
    Case("bare LF behind a chunk", CHUNKED + b"2\r\nhi\n0\r\n\r\n", b"hi", broken=True),
    Case("bare LF behind a size", CHUNKED + b"2\nhi\r\n0\r\n\r\n", b"", broken=True),
    Case("overflowing chunk size", CHUNKED + b"fffffffffffffffff\r\nhi", b"", broken=True),
    Case(
        "content-length in a trailer",
        CHUNKED + b"2\r\nhi\r\n0\r\ncontent-length: 9\r\n\r\n",
        b"hi",
        broken=True,
    ),
    Case("endless extension", CHUNKED + b"2\r\nhi\r\n2;" + b"x" * 600000, b"hi", broken=True),
    Case("endless trailer", CHUNKED + b"2\r\nhi\r\n0\r\nx: " + b"x" * 600000, b"hi", broken=True),
    # -- heads that must not be believed
    Case("two lengths", _head(b"content-length: 2", b"content-length: 3") + b"hi", None),
    Case("the same length twice", _head(b"content-length: 2", b"content-length: 2") + b"hi", None),
    Case("a list of lengths", _head(b"content-length: 2, 2") + b"hi", None),
    Case(
        "length and chunked",
        _head(b"content-length: 2", b"transfer-encoding: chunked") + b"0\r\n\r\n",
        None,
    ),
    Case(
        "chunked and length",
        _head(b"transfer-encoding: chunked", b"content-length: 2") + b"0\r\n\r\n",
        None,
    ),
    Case("gzip, chunked", _head(b"transfer-encoding: gzip, chunked") + b"0\r\n\r\n", None),
    Case("chunked, gzip", _head(b"transfer-encoding: chunked, gzip") + b"0\r\n\r\n", None),
    Case(
        "chunked twice",
        _head(b"transfer-encoding: chunked", b"transfer-encoding: chunked") + b"0\r\n\r\n",
        None,
    ),
    Case("identity coding", _head(b"transfer-encoding: identity") + b"hi", None),
    Case("length with a sign", _head(b"content-length: +2") + b"hi", None),
    Case("negative length", _head(b"content-length: -2") + b"hi", None),
    Case("length in hex", _head(b"content-length: 0x2") + b"hi", None),
    Case("empty length", _head(b"content-length: ") + b"hi", None),
    Case("overflowing length", _head(b"content-length: 99999999999999999999999") + b"hi", None),
    Case("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n", None),
    Case("RTSP", _head(b"content-length: 2", status=b"RTSP/1.0 200 OK") + b"hi", None),
    Case("ICE", _head(b"content-length: 2", status=b"ICE/1.0 200 OK") + b"hi", None),
    Case("HTTP/2.0", _head(b"content-length: 2", status=b"HTTP/2.0 200 OK") + b"hi", None),
    Case(
        "HTTP/2.0 kept alive",
        _head(b"connection: keep-alive", b"content-length: 2", status=b"HTTP/2.0 200 OK") + b"hi",
        None,
    ),
    Case("HTTP/0.9", _head(b"content-length: 2", status=b"HTTP/0.9 200 OK") + b"hi", None),
    Case("HTTP/1.2", _head(b"content-length: 2", status=b"HTTP/1.2 200 OK") + b"hi", None),
    Case("a page, no head", b"<html>hello</html>", None),
    Case("line break first", b"\r\n" + _head(b"content-length: 2") + b"hi", None),
    Case("two-digit status", _head(status=b"HTTP/1.1 20 OK"), None),
    Case("four-digit status", _head(status=b"HTTP/1.1 2000 OK"), None),
    Case("status zero", _head(b"content-length: 2", status=b"HTTP/1.1 000 OK") + b"hi", None),
    Case("folded field", _head(b"x: a", b" b", b"content-length: 2") + b"hi", None),
    Case("bare LF", b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", None),
    Case("bare CR in a value", _head(b"x: a\rb", b"content-length: 2") + b"hi", None),
    Case("NUL in a value", _head(b"x: a\0b", b"content-length: 2") + b"hi", None),
    Case("blank before the colon", _head(b"content-length : 2") + b"hi", None),
    Case("empty name", _head(b": x", b"content-length: 2") + b"hi", None),
    Case("name of no token", _head(b"x\xe9: x", b"content-length: 2") + b"hi", None),
    Case("oversized head", _head(b"x: " + b"x" * 70000, b"content-length: 2") + b"hi", None),
    Case("endless head", b"HTTP/1.1 200 OK\r\nx: " + b"x" * 140_000, None),
    Case("endless interim responses", _head(status=b"HTTP/1.1 102 Processing") * 3000, None),
    Case(
        "a switch nobody asked for",
        _head(b"upgrade: x", b"connection: upgrade", status=b"HTTP/1.1 101 S"),
        None,
    ),
    Case("a bare 101", _head(status=b"HTTP/1.1 101 S"), None),
]

# What may follow a complete response in the same read and must cost the connection.
TRAILING = {
    "a second response": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad",
    "its beginning": b"HTTP/1",
    "rubbish": b"xx",
    "a line break": b"\r\n",
    "two": b"\r\n\r\n",
}
