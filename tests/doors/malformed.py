"""Requests that a server must refuse (RFC 9110, RFC 9112, published smuggling classes).

Each case is sent as it is on a fresh connection; the door must answer with `status`, close, and
never call its app for the bad message. Where a body is at fault (`late`), the app may have been
called, but must see a disconnect and never the end of the body.
"""

from dataclasses import dataclass

HOST = b"Host: a.example\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    raw: bytes
    status: int = 400
    late: bool = False


def get(fields: bytes = b"", host: bytes = HOST) -> bytes:
    return b"GET / HTTP/1.1\r\n" + host + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST /x HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body


def line(first: bytes) -> bytes:
    return first + b"\r\n" + HOST + b"\r\n"


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


def _length(name: str, value: bytes, status: int = 400) -> Case:
    return Case(
        f"content-length {name}", post(b"Content-Length: " + value + b"\r\n", b"hello"), status
    )


def _coding(name: str, value: bytes) -> Case:
    return Case(
        f"transfer-encoding {name}",
        post(b"Transfer-Encoding:" + value + b"\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    )


def _host(name: str, value: bytes) -> Case:
    return Case(f"host {name}", get(host=b"Host: " + value + b"\r\n"))


LINES = [
    Case("lower-case version", line(b"GET / http/1.1")),
    Case("no version (HTTP/0.9)", b"GET /\r\n\r\n"),
    Case("no target", line(b"GET HTTP/1.1")),
    Case("empty target", line(b"GET  HTTP/1.1")),
    Case("two spaces after the method", line(b"GET  / HTTP/1.1")),
    Case("two spaces before the version", line(b"GET /  HTTP/1.1")),
    Case("tab as separator", line(b"GET\t/ HTTP/1.1")),
    Case("space in the target", line(b"GET /a b HTTP/1.1")),
    Case("trailing space", line(b"GET / HTTP/1.1 ")),
    Case("leading space", line(b" GET / HTTP/1.1")),
    Case("version without minor", line(b"GET / HTTP/1")),
    Case("version with two digits", line(b"GET / HTTP/1.10")),
    Case("version with a leading zero", line(b"GET / HTTP/01.1")),
    Case("version with a comma", line(b"GET / HTTP/1,1")),
    Case("version with a space", line(b"GET / HTTP/ 1.1")),
    Case("another protocol", line(b"GET / ICAP/1.1")),
    Case("HTTP/2.0", line(b"GET / HTTP/2.0"), 505),
    Case("HTTP/1.2", line(b"GET / HTTP/1.2"), 505),
    Case("HTTP/1.9", line(b"GET / HTTP/1.9"), 505),
    Case("HTTP/0.9 spelled out", line(b"GET / HTTP/0.9"), 505),
    Case("HTTP/3.1", line(b"GET / HTTP/3.1"), 505),
    Case("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Case("an unknown method", line(b"BREW / HTTP/1.1"), 501),
    Case("a lower-case method", line(b"get / HTTP/1.1"), 501),
    Case("TRACE", line(b"TRACE / HTTP/1.1"), 501),
    Case("a method with a colon", line(b"GET: / HTTP/1.1")),
    Case("a method in parentheses", line(b"(GET) / HTTP/1.1")),
    Case("a method with a NUL", line(b"GE\0T / HTTP/1.1")),
    Case("a method outside ASCII", line(b"G\xc3\x89T / HTTP/1.1")),
    Case("GET *", line(b"GET * HTTP/1.1")),
    Case("POST *", line(b"POST * HTTP/1.1")),
    Case("a target without slash", line(b"GET index HTTP/1.1")),
    Case("authority-form with GET", line(b"GET a.example:80 HTTP/1.1")),
    Case("a fragment", line(b"GET /a#b HTTP/1.1")),
    Case("a target outside ASCII", line(b"GET /\xc3\xa9 HTTP/1.1")),
    Case("a control character in the target", line(b"GET /a\x01b HTTP/1.1")),
    Case("DEL in the target", line(b"GET /a\x7fb HTTP/1.1")),
    Case("NUL in the target", line(b"GET /a\0b HTTP/1.1")),
    Case("bare CR in the target", line(b"GET /a\rb HTTP/1.1")),
    Case("an overlong target", line(b"GET /" + b"a" * 20000 + b" HTTP/1.1"), 414),
    Case("a target without end", b"GET /" + b"a" * 70000, 414),
    Case("only spaces", line(b"   ")),
    Case("too many empty lines", b"\r\n" * 20 + get()),
    Case("an empty line of LF", b"\n" + get()),
    Case("an empty line of CR", b"\rG" + get()),
    Case("a TLS hello", bytes.fromhex("16030100a5010000a10303") + bytes(20)),
    Case("an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    Case("absolute-form with ftp", line(b"GET ftp://a.example/ HTTP/1.1")),
    Case("absolute-form without host", line(b"GET http:///x HTTP/1.1")),
    Case("absolute-form with userinfo", line(b"GET http://u:p@a.example/ HTTP/1.1")),
    Case("absolute-form with a bad port", line(b"GET http://a.example:99999/ HTTP/1.1")),
    Case("absolute-form with port 0", line(b"GET http://a.example:0/ HTTP/1.1")),
    Case("absolute-form with a port word", line(b"GET http://a.example:x/ HTTP/1.1")),
    Case("absolute-form with a backslash", line(b"GET http://a.example\\@b/ HTTP/1.1")),
    Case("absolute-form with a bad IPv6", line(b"GET http://[::1/ HTTP/1.1")),
    Case("absolute-form without Host", b"GET http://a.example/ HTTP/1.1\r\n\r\n"),
    Case("absolute-form with a bad Host", b"GET http://a.example/ HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    Case("CONNECT without port", line(b"CONNECT a.example HTTP/1.1")),
    Case("CONNECT with a path", line(b"CONNECT /x HTTP/1.1")),
    Case("CONNECT with a URL", line(b"CONNECT http://a.example:1/ HTTP/1.1")),
    Case("CONNECT with userinfo", line(b"CONNECT u@a.example:443 HTTP/1.1")),
    Case("CONNECT with port 0", line(b"CONNECT a.example:0 HTTP/1.1")),
    Case("CONNECT without Host", b"CONNECT a.example:443 HTTP/1.1\r\n\r\n"),
    Case(
        "CONNECT with a body",
        b"CONNECT a.example:443 HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
    ),
]

FIELDS = [
    Case("no colon", get(b"NoColon\r\n")),
    Case("an empty field name", get(b": value\r\n")),
    Case("space before the colon", get(b"X-A : b\r\n")),
    Case("tab before the colon", get(b"X-A\t: b\r\n")),
    Case("space before content-length's colon", post(b"Content-Length : 5\r\n", b"hello")),
    Case(
        "space before transfer-encoding's colon",
        post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    ),
    Case("space in a field name", get(b"X A: b\r\n")),
    Case("obs-fold with a space", get(b"X-A: b\r\n c\r\n")),
    Case("obs-fold with a tab", get(b"X-A: b\r\n\tc\r\n")),
    Case("obs-fold in the first field", b"GET / HTTP/1.1\r\n Host: a.example\r\n\r\n"),
    Case("obs-fold of Host", b"GET / HTTP/1.1\r\nHost:\r\n a.example\r\n\r\n"),
    Case("obs-fold of content-length", post(b"Content-Length:\r\n 5\r\n", b"hello")),
    Case(
        "obs-fold of transfer-encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n")
    ),
    Case("a parenthesis in a name", get(b"X(A): b\r\n")),
    Case("a slash in a name", get(b"X/A: b\r\n")),
    Case("an at sign in a name", get(b"X@A: b\r\n")),
    Case("brackets in a name", get(b"X[A]: b\r\n")),
    Case("quotes in a name", get(b'"X": b\r\n')),
    Case("a comma in a name", get(b"X,A: b\r\n")),
    Case("a semicolon in a name", get(b"X;A: b\r\n")),
    Case("an equals sign in a name", get(b"X=A: b\r\n")),
    Case("a name outside ASCII", get(b"X-\xc3\xa9: b\r\n")),
    Case("a control character in a name", get(b"X\x01A: b\r\n")),
    Case("NUL in a name", get(b"X\0A: b\r\n")),
    Case("NUL in a value", get(b"X-A: b\0c\r\n")),
    Case("a control character in a value", get(b"X-A: b\x01c\r\n")),
    Case("vertical tab in a value", get(b"X-A: b\x0bc\r\n")),
    Case("form feed in a value", get(b"X-A: b\x0cc\r\n")),
    Case("escape in a value", get(b"X-A: b\x1bc\r\n")),
    Case("DEL in a value", get(b"X-A: b\x7fc\r\n")),
    Case("bare CR in a value", get(b"X-A: b\rc\r\n")),
    Case("bare CR before CRLF", get(b"X-A: b\r\r\n")),
    Case("bare LF in a value", get(b"X-A: b\nc: d\r\n")),
    Case("bare LF ends a field", b"GET / HTTP/1.1\r\nHost: a.example\nX-A: b\r\n\r\n"),
    Case("bare LF ends the request line", b"GET / HTTP/1.1\nHost: a.example\r\n\r\n"),
    Case("bare LF everywhere", b"GET / HTTP/1.1\nHost: a.example\n\n"),
    Case("bare LF ends the head", b"GET / HTTP/1.1\r\nHost: a.example\r\n\n"),
    Case("bare CR ends the head", b"GET / HTTP/1.1\r\nHost: a.example\r\n\rX"),
    Case("CR as line end", b"GET / HTTP/1.1\rHost: a.example\r\r"),
    Case("LF CR as line end", b"GET / HTTP/1.1\n\rHost: a.example\n\r\n\r"),
    Case("a smuggled field behind a bare LF", get(b"X-A: b\nTransfer-Encoding: chunked\r\n")),
    Case("too large a head", get(b"X-A: " + b"b" * 70000 + b"\r\n"), 431),
    Case("too large a head without end", get(b"X-A: " + b"b" * 70000)[:-4], 431),
    Case("too many fields", get(b"X-A: b\r\n" * 300), 431),
    Case("too long a field name", get(b"X" * 70000 + b": b\r\n"), 431),
    Case(
        "an unknown expectation", post(b"Expect: a-miracle\r\nContent-Length: 5\r\n", b"hello"), 417
    ),
    Case(
        "two expectations", post(b"Expect: 100-continue, x\r\nContent-Length: 5\r\n", b"hello"), 417
    ),
]

HOSTS = [
    Case("host missing", b"GET / HTTP/1.1\r\n\r\n"),
    Case("host missing, others there", b"GET / HTTP/1.1\r\nX-A: b\r\n\r\n"),
    Case("host twice", get(HOST)),
    Case("host twice, different", get(b"Host: b.example\r\n")),
    Case("host twice, in another case", get(b"hOST: b.example\r\n")),
    Case("host twice in HTTP/1.0", b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n"),
    _host("empty", b""),
    _host("blank", b"   "),
    _host("with userinfo", b"user@a.example"),
    _host("with password", b"user:pw@a.example"),
    _host("with a path", b"a.example/x"),
    _host("with a scheme", b"http://a.example"),
    _host("with a query", b"a.example?x"),
    _host("with a fragment", b"a.example#x"),
    _host("with a space", b"a example"),
    _host("list", b"a.example, b.example"),
    _host("with a comma", b"a.example,b.example"),
    _host("with a backslash", b"a.example\\b"),
    _host("outside ASCII", b"\xc3\xa9.example"),
    _host("with a port word", b"a.example:http"),
    _host("with too high a port", b"a.example:65536"),
    _host("with a long port", b"a.example:000080000"),
    _host("with port 0", b"a.example:0"),
    _host("with a negative port", b"a.example:-1"),
    _host("with two ports", b"a.example:1:2"),
    _host("with only a port", b":80"),
    _host("with an open bracket", b"[::1"),
    _host("with an unbracketed IPv6", b"::1"),
    _host("with a zone", b"[fe80::1%25eth0]"),
    _host("with text behind the bracket", b"[::1]x"),
    _host("overlong", b"a" * 300),
    _host("with an escape", b"a%2eexample"),
    _host("with angle brackets", b"<a>"),
]

FRAMING = [
    _length("negative", b"-5"),
    _length("with a plus", b"+5"),
    _length("hexadecimal", b"0x5"),
    _length("with a point", b"5.0"),
    _length("with an exponent", b"5e0"),
    _length("empty", b""),
    _length("a word", b"five"),
    _length("list", b"5, 5"),
    _length("list, different", b"5, 6"),
    _length("list without space", b"5,5"),
    _length("with a space within", b"5 5"),
    _length("with an underscore", b"1_0"),
    _length("with a semicolon", b"5;"),
    _length("quoted", b'"5"'),
    _length("with other digits", "٥".encode()),
    _length("with superscript digits", b"\xb2"),
    _length("overflowing 64 bits", b"18446744073709551621"),
    _length("overflowing 63 bits", b"9223372036854775812"),
    _length("endless", b"1" * 500),
    _length("with trailing form feed", b"5\x0c"),
    _length("too large", b"99999999", 413),
    _length("far too large", b"999999999999999999", 413),
    Case("content-length twice", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello")),
    Case(
        "content-length twice, different",
        post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
    ),
    Case(
        "content-length twice, in another case",
        post(b"Content-Length: 5\r\ncontent-LENGTH: 0\r\n", b"hello"),
    ),
    Case(
        "content-length with underscore",
        post(b"Content_Length: 5\r\nContent-Length: 0\r\n", b"hello"),
    ),
    Case(
        "transfer-encoding with underscore", post(b"Transfer_Encoding: chunked\r\n", b"0\r\n\r\n")
    ),
    _coding("identity", b" identity"),
    _coding("gzip", b" gzip"),
    _coding("gzip, chunked", b" gzip, chunked"),
    _coding("chunked, gzip", b" chunked, gzip"),
    _coding("chunked, identity", b" chunked, identity"),
    _coding("chunked, chunked", b" chunked, chunked"),
    _coding("chunked with a comma", b" chunked,"),
    _coding("a comma before chunked", b" ,chunked"),
    _coding("xchunked", b" xchunked"),
    _coding("chunkedx", b" chunkedx"),
    _coding("chunk", b" chunk"),
    _coding("chunked with a parameter", b" chunked;q=1"),
    _coding("quoted", b' "chunked"'),
    _coding("single-quoted", b" 'chunked'"),
    _coding("empty", b""),
    _coding("with vertical tab", b"\x0bchunked"),
    _coding("with form feed behind", b" chunked\x0c"),
    _coding("with NUL behind", b" chunked\0"),
    _coding("with a bare CR behind", b" chunked\r"),
    _coding("with no-break space", b" chunked\xa0"),
    _coding("with a newline inside", b" chun\nked"),
    Case(
        "transfer-encoding twice",
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    Case(
        "transfer-encoding twice, identity",
        post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    ),
    Case("CL.TE", post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nG")),
    Case(
        "TE.CL",
        post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"5c\r\nGPOST / HTTP/1.1\r\n"),
    ),
    Case(
        "CL.TE with zero",
        post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    Case(
        "TE in HTTP/1.0",
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
]


def _chunk(name: str, body: bytes, status: int = 400) -> Case:
    return Case(f"chunk {name}", chunked(body), status, late=True)


CHUNKS = [
    _chunk("size empty", b"\r\nhello\r\n0\r\n\r\n"),
    _chunk("size negative", b"-5\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with a plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with an underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    _chunk("size no number", b"xyz\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with a leading space", b" 5\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with a trailing space", b"5 \r\nhello\r\n0\r\n\r\n"),
    _chunk("size with a trailing tab", b"5\t\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with a point", b"5.0\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with a comma", b"5,\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with a letter beyond f", b"5g\r\nhello\r\n0\r\n\r\n"),
    _chunk("size with NUL", b"5\0\r\nhello\r\n0\r\n\r\n"),
    _chunk("size overflowing 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _chunk("size huge", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    _chunk("size beyond the limit", b"fffffffff\r\nhello\r\n0\r\n\r\n", 413),
    _chunk("size of 15 digits", b"fffffffffffffff\r\nhello\r\n0\r\n\r\n", 413),
    _chunk("size line ended by LF", b"5\nhello\r\n0\r\n\r\n"),
    _chunk("size line ended by CR", b"5\rhello\r\n0\r\n\r\n"),
    _chunk("size line ended by CR CR LF", b"5\r\r\nhello\r\n0\r\n\r\n"),
    _chunk("size line without end", b"5" * 3000),
    _chunk("data ended by LF", b"5\r\nhello\n0\r\n\r\n"),
    _chunk("data ended by CR", b"5\r\nhello\r0\r\n\r\n"),
    _chunk("data without end", b"5\r\nhello0\r\n\r\n"),
    _chunk("data longer than its size", b"3\r\nhello\r\n0\r\n\r\n"),
    _chunk("data shorter than its size", b"7\r\nhello\r\n0\r\n\r\n"),
    _chunk("data followed by two CRLF", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    _chunk("extension with LF", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    _chunk("extension with CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    _chunk("extension with NUL", b"5;a\0\r\nhello\r\n0\r\n\r\n"),
    _chunk("extension empty", b"5;\r\nhello\r\n0\r\n\r\n"),
    _chunk("extension without name", b"5;=b\r\nhello\r\n0\r\n\r\n"),
    _chunk("extension without value", b"5;a=\r\nhello\r\n0\r\n\r\n"),
    _chunk("extension with an open quote", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    _chunk("extension with a space in its name", b"5;a b\r\nhello\r\n0\r\n\r\n"),
    _chunk("extension too long", b"5;" + b"a" * 2000 + b"\r\nhello\r\n0\r\n\r\n"),
    _chunk("last size with LF", b"5\r\nhello\r\n0\n\r\n"),
    _chunk("last size with LF LF", b"5\r\nhello\r\n0\n\n"),
    _chunk("last chunk negative", b"5\r\nhello\r\n-0\r\n\r\n"),
    _chunk("end with LF", b"5\r\nhello\r\n0\r\n\n"),
    _chunk("end with CR", b"5\r\nhello\r\n0\r\n\rG"),
    _chunk("trailer without colon", b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n"),
    _chunk("trailer with a space before its colon", b"5\r\nhello\r\n0\r\nX-A : b\r\n\r\n"),
    _chunk("trailer folded", b"5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
    _chunk("trailer with LF", b"5\r\nhello\r\n0\r\nX-A: b\nX-B: c\r\n\r\n"),
    _chunk("trailer with NUL", b"5\r\nhello\r\n0\r\nX-A: b\0\r\n\r\n"),
    _chunk("trailer with an empty name", b"5\r\nhello\r\n0\r\n: b\r\n\r\n"),
    _chunk("trailer too long", b"5\r\nhello\r\n0\r\nX-A: " + b"b" * 2000 + b"\r\n\r\n"),
    _chunk("trailers too many", b"5\r\nhello\r\n0\r\n" + b"X-A: bbbbbbbb\r\n" * 10000 + b"\r\n"),
    _chunk("extensions too many", b"1;aaaaaaaa=bbbbbbbb\r\nx\r\n" * 5000 + b"0\r\n\r\n"),
]

CASES = LINES + FIELDS + HOSTS + FRAMING + CHUNKS
