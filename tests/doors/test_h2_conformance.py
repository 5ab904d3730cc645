"""What RFC 9113 says of broken frames, streams and requests: an error of the connection, of the
stream, or nothing at all. The app never sees the request, and the next connection is served."""

from dataclasses import dataclass
from operator import attrgetter

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from muxproxy.doors import DoorLimits
from tests.doors.h2_peer import (
    GET,
    POST,
    PREFACE,
    Outcome,
    block,
    data,
    get,
    headers,
    peer_of,
    raw,
    settings,
)
from tests.doors.harness import Echo, serving
from tests.doors.test_tls import Authority

NO_ERROR, PROTOCOL, INTERNAL, FLOW, _, CLOSED, SIZE = range(7)
REFUSED, CANCEL, COMPRESSION, CALM = 7, 8, 9, 11
HPACK = {COMPRESSION, PROTOCOL}  # RFC 9113 4.3 wants the first, h2 says the second
ANY = frozenset(range(14))
CONNECTION_ERROR, STREAM_ERROR, REFUSAL, IGNORED = "connection", "stream", "status", "ignored"


@dataclass(frozen=True)
class Case:
    """`sent` behind a preface; `want`: what it may come to, on stream 1 where it is a stream's.
    `codes` are those of the GOAWAY or RST_STREAM."""

    name: str
    sent: bytes
    want: tuple[str, ...] = (CONNECTION_ERROR,)
    codes: frozenset[int] = frozenset({PROTOCOL})
    reaches: bool = False  # a call of the app may have begun, but sees no end of the body
    opening: bytes = PREFACE + settings()


def case(name: str, *sent: bytes, codes: set[int] | None = None, **more: object) -> Case:
    return Case(name, b"".join(sent), codes=frozenset(codes or {PROTOCOL}), **more)  # type: ignore[arg-type]


def malformed(name: str, *fields: tuple[str | bytes, str | bytes], base: object = GET) -> Case:
    """A request that RFC 9113 8.1.1 calls malformed: a stream error, which may be treated as one
    of the connection, or a 400 before it."""
    sent = get(1, [*base, *fields])  # type: ignore[misc]
    return Case(name, sent, (CONNECTION_ERROR, STREAM_ERROR, REFUSAL))


def without(name: str) -> list[tuple[str, str]]:
    return [pair for pair in GET if pair[0] != name]


def replaced(name: str, value: str | bytes) -> list[tuple[str, str | bytes]]:
    return [(n, value if n == name else v) for n, v in GET]


def split_headers(*middle: bytes, parts: int = 2, end: bool = True, size: int = 40) -> bytes:
    """HEADERS without END_HEADERS, `middle`, then CONTINUATION frames."""
    whole = block([*GET, *((f"x-{n}", "\\" * size) for n in range(20))])
    step = len(whole) // parts + 1
    pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
    first = HeadersFrame(1, pieces[0])
    first.flags.add("END_STREAM")
    rest = [ContinuationFrame(1, piece) for piece in pieces[1:]]
    if end:
        rest[-1].flags.add("END_HEADERS")
    return first.serialize() + b"".join(middle) + b"".join(f.serialize() for f in rest)


def priority(stream: int, on: int) -> bytes:
    return raw(2, 0, stream, on.to_bytes(4, "big") + b"\x0f")


PREFACES = [
    case("a preface that is none", opening=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", codes=ANY),
    case("a preface cut short, then frames", opening=PREFACE[:20] + settings(), codes=ANY),
    case("a preface with one byte wrong", opening=PREFACE[:-2] + b"xx", codes=ANY),
    case("no SETTINGS first", get(1), opening=PREFACE, want=(CONNECTION_ERROR, IGNORED), codes=ANY,
         reaches=True),
]  # fmt: skip
FRAMES = [
    case("DATA on stream 0", data(0)),
    case("HEADERS on stream 0", raw(1, 5, 0, block(GET))),
    case("PRIORITY on stream 0", raw(2, 0, 0, bytes(5))),
    case("RST_STREAM on stream 0", raw(3, 0, 0, bytes(4))),
    case("SETTINGS on stream 1", raw(4, 0, 1)),
    case("PUSH_PROMISE from a client", raw(5, 4, 1, b"\0\0\0\2" + block(GET)), codes=ANY),
    case("PING on stream 1", raw(6, 0, 1, bytes(8))),
    case("GOAWAY on stream 1", raw(7, 0, 1, bytes(8))),
    case("CONTINUATION on stream 0", raw(9, 4, 0, block(GET))),
    case("CONTINUATION without HEADERS", raw(9, 4, 1, block(GET))),
    case("a frame beyond SETTINGS_MAX_FRAME_SIZE", headers(1, POST), data(1, bytes(16385)),
         codes={SIZE}, reaches=True),
    case("HEADERS beyond SETTINGS_MAX_FRAME_SIZE", raw(1, 5, 1, bytes(16385)), codes={SIZE}),
    case("a frame that claims 16 MiB", raw(0, 0, 1, b"x", length=0xFFFFFF), codes={SIZE}),
    case("PING of 7 bytes", raw(6, 0, 0, bytes(7)), codes={SIZE}),
    case("PING of 9 bytes", raw(6, 0, 0, bytes(9)), codes={SIZE}),
    case("SETTINGS of 5 bytes", raw(4, 0, 0, bytes(5)), codes={SIZE}),
    case("SETTINGS with ACK and a payload", raw(4, 1, 0, bytes(6)), codes={SIZE, PROTOCOL}),
    case("RST_STREAM of 3 bytes", get(1), raw(3, 0, 1, bytes(3)), codes={SIZE}, reaches=True),
    case("PRIORITY of 4 bytes", raw(2, 0, 1, bytes(4)), codes={SIZE},
         want=(CONNECTION_ERROR, STREAM_ERROR)),
    case("WINDOW_UPDATE of 3 bytes", raw(8, 0, 0, bytes(3)), codes={SIZE}),
    case("GOAWAY of 7 bytes", raw(7, 0, 0, bytes(7)), codes={SIZE}),
    case("padding longer than the DATA", headers(1, POST), raw(0, 8, 1, b"\xff12345"),
         reaches=True),
    case("padding longer than the HEADERS", raw(1, 13, 1, b"\xff" + block(GET))),
    case("ENABLE_PUSH of 2", settings({2: 2})),
    case("INITIAL_WINDOW_SIZE beyond 2^31-1", settings({4: 1 << 31}), codes={FLOW}),
    case("MAX_FRAME_SIZE below 2^14", settings({5: 1})),
    case("MAX_FRAME_SIZE beyond 2^24-1", settings({5: 1 << 24})),
    case("ENABLE_CONNECT_PROTOCOL of 2", settings({8: 2}), codes=ANY),
    case("an unknown setting", settings({0xF00D: 7}), want=(IGNORED,)),
    case("an unknown frame", raw(0xBB, 0xFF, 0, b"whatever"), want=(IGNORED,)),
    case("an unknown frame on an idle stream", raw(0xBB, 0xFF, 7, b"what"), want=(IGNORED,)),
    case("a PING's answer nobody asked for", raw(6, 1, 0, bytes(8)), want=(IGNORED,)),
    case("unknown flags of a PING", raw(6, 0xFE, 0, bytes(8)), want=(IGNORED,)),
    case("a reserved bit", raw(6, 0, 1 << 31, bytes(8)), want=(IGNORED,)),
    case("an ORIGIN or ALTSVC from a client", raw(10, 0, 0, b"\0\0"), want=(IGNORED,)),
]  # fmt: skip
STREAMS = [
    case("an even stream", get(2)),
    case("a stream below one before", get(5), get(3), codes={PROTOCOL, CLOSED}, reaches=True),
    case("DATA on an idle stream", data(1)),
    case("RST_STREAM on an idle stream", RstStreamFrame(1, 8).serialize()),
    case("WINDOW_UPDATE on an idle stream", WindowUpdateFrame(1, 1).serialize()),
    case("DATA behind END_STREAM", get(1), data(1), want=(CONNECTION_ERROR, STREAM_ERROR),
         codes={CLOSED, PROTOCOL}, reaches=True),
    case("HEADERS behind END_STREAM", get(1), get(1), want=(CONNECTION_ERROR, STREAM_ERROR),
         codes={CLOSED, PROTOCOL}, reaches=True),
    case("HEADERS behind RST_STREAM", headers(1, POST), RstStreamFrame(1, 8).serialize(), get(1),
         want=(CONNECTION_ERROR, STREAM_ERROR), codes={CLOSED, PROTOCOL}, reaches=True),
    case("a WINDOW_UPDATE of 0", raw(8, 0, 0, bytes(4))),
    case("a stream's WINDOW_UPDATE of 0", headers(1, POST), raw(8, 0, 1, bytes(4)),
         want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
    case("a connection's window beyond 2^31-1", raw(8, 0, 0, b"\x7f\xff\xff\xff"), codes={FLOW}),
    case("a stream's window beyond 2^31-1", headers(1, POST), raw(8, 0, 1, b"\x7f\xff\xff\xff"),
         want=(CONNECTION_ERROR, STREAM_ERROR), codes={FLOW}, reaches=True),
    case("a stream that depends on itself", priority(1, 1)),
    case("a priority of an idle stream", priority(9, 7), want=(IGNORED,)),
    case("an exclusive priority in a circle", priority(3, 5), priority(5, 3), want=(IGNORED,)),
]  # fmt: skip
BLOCKS = [
    case("a frame amid a header block", split_headers(PingFrame(0, bytes(8)).serialize())),
    case("an unknown frame amid a header block", split_headers(raw(0xBB, 0, 1, b"x"))),
    case("another stream's HEADERS amid a header block", split_headers(get(3))),
    case("CONTINUATION of another stream", split_headers(raw(9, 4, 3, b""))),
    case("an HPACK index of 0", raw(1, 5, 1, b"\x80"), codes=HPACK),
    case("an HPACK index beyond the table", raw(1, 5, 1, b"\xff\xff\x7f"), codes=HPACK),
    case("an HPACK integer without end", raw(1, 5, 1, b"\xff" + b"\xff" * 40),
         codes=HPACK),
    case("an HPACK string cut short", raw(1, 5, 1, b"\x40\x0aab"), codes=HPACK),
    case("HPACK Huffman padding of ones too long", raw(1, 5, 1, b"\x40\x82\x1f\xff\x00"),
         codes=HPACK),
    case("an HPACK table size beyond the setting", raw(1, 5, 1, b"\x3f\xe1\xff\x03" + block(GET)),
         codes=HPACK),
    case("an HPACK table size behind a field", raw(1, 5, 1, block(GET) + b"\x20"),
         codes=HPACK),
    case("many CONTINUATIONs", split_headers(parts=200), codes={CALM, PROTOCOL}),
    case("CONTINUATIONs without end", split_headers(parts=200, end=False),
         *[raw(9, 0, 1, bytes(16384))] * 70, codes={CALM, PROTOCOL}),
    case("empty CONTINUATIONs without end", HeadersFrame(1, block(GET)).serialize(),
         *[raw(9, 0, 1)] * 5000, codes={CALM, PROTOCOL}),
    case("a header list beyond the limit", split_headers(size=4000, parts=20),
         codes={CALM, PROTOCOL}),
    case("an HPACK bomb", raw(1, 5, 1, b"\x40\x01x\x7f\xa1\x1e" + b"z" * 4000 + b"\xbe" * 4000),
         codes={CALM, COMPRESSION, PROTOCOL}),
]  # fmt: skip
REQUESTS = [
    malformed("an upper-case name", ("X-Upper", "x")),
    malformed("a name with a space", ("x y", "x")),
    malformed("a name with a colon", ("x:y", "x")),
    malformed("a name with a line break", ("x\r\ny", "x")),
    malformed("a name with NUL", (b"x\0y", "x")),
    malformed("a name outside ASCII", ("x-\u00e9", "x")),
    malformed("an empty name", ("", "x")),
    malformed("a name in parentheses", ("(x)", "x")),
    malformed("a value with CR LF", ("x", "y\r\nhost: b")),
    malformed("a value with LF", ("x", "y\nhost: b")),
    malformed("a value with CR", ("x", "y\rz")),
    malformed("a value with NUL", ("x", b"y\0z")),
    malformed("a value with a control character", ("x", b"y\x01z")),
    malformed("connection", ("connection", "close")),
    malformed("connection: keep-alive", ("connection", "keep-alive")),
    malformed("keep-alive", ("keep-alive", "timeout=5")),
    malformed("proxy-connection", ("proxy-connection", "close")),
    malformed("transfer-encoding", ("transfer-encoding", "chunked")),
    malformed("upgrade", ("upgrade", "websocket")),
    malformed("te other than trailers", ("te", "gzip")),
    malformed("a content-length posing", ("content_length", "5")),
    malformed("a transfer-encoding posing", ("transfer_encoding", "chunked")),
    malformed("content-length with END_STREAM", ("content-length", "5")),
    malformed("two content-lengths", ("content-length", "0"), ("content-length", "0")),
    malformed("content-length with a plus", ("content-length", "+0")),
    malformed("content-length in a list", ("content-length", "0, 0")),
    malformed("content-length with an underscore", ("content-length", "0_0")),
    malformed("content-length in Arabic digits", ("content-length", "\u0660")),
    malformed("a negative content-length", ("content-length", "-1")),
    malformed("an empty content-length", ("content-length", "")),
    malformed("a second :method", (":method", "GET")),
    malformed("a second :path", (":path", "/x")),
    malformed("a second :scheme", (":scheme", "https")),
    malformed("a second :authority", (":authority", "a.example")),
    malformed("another host than :authority", ("host", "b.example")),
    malformed("two hosts", ("host", "a.example"), ("host", "a.example")),
    malformed("a pseudo-header behind a field", (":path", "/y"), base=[*without(":path"),
              ("x", "y")]),
    malformed("an unknown pseudo-header", base=[*GET, (":unknown", "x")]),
    malformed(":status in a request", base=[*GET, (":status", "200")]),
    malformed(":protocol without CONNECT", base=[*GET, (":protocol", "websocket")]),
    malformed("no :method", base=without(":method")),
    malformed("no :path", base=without(":path")),
    malformed("no :scheme", base=without(":scheme")),
    malformed("no :authority and no host", base=without(":authority")),
    malformed("an empty :path", base=replaced(":path", "")),
    malformed("an empty :authority", base=replaced(":authority", "")),
    malformed("an empty :method", base=replaced(":method", "")),
    malformed("an absolute :path", base=replaced(":path", "http://b.example/")),
    malformed("a :path without slash", base=replaced(":path", "x")),
    malformed("a :path with a space", base=replaced(":path", "/x HTTP/1.1")),
    malformed("a :path with a line break", base=replaced(":path", "/x\r\nhost: b")),
    malformed("a :path with NUL", base=replaced(":path", b"/\0")),
    malformed("a :path with a fragment", base=replaced(":path", "/x#y")),
    malformed("a :path outside ASCII", base=replaced(":path", b"/\xc3\xa9")),
    malformed("a :path of bytes no UTF-8", base=replaced(":path", b"/\xff\xfe")),
    malformed("a :method with a space", base=replaced(":method", "GET /y")),
    malformed("a :method with a line break", base=replaced(":method", "GET\r\n")),
    malformed("a :method outside ASCII", base=replaced(":method", b"G\xc3\x89T")),
    malformed("a lower-case :method", base=replaced(":method", "get")),
    malformed("an unknown :method", base=replaced(":method", "BREW")),
    malformed("TRACE", base=replaced(":method", "TRACE")),
    malformed("the method our own refusal is told by", base=replaced(":method", "-")),
    malformed("an :authority with userinfo", base=replaced(":authority", "u@a.example")),
    malformed("an :authority with a path", base=replaced(":authority", "a.example/x")),
    malformed("an :authority with a space", base=replaced(":authority", "a.example b")),
    malformed("an :authority with a bad port", base=replaced(":authority", "a.example:99999")),
    malformed("CONNECT", base=[(":method", "CONNECT"), (":authority", "a.example:443")]),
    malformed("CONNECT with a path", base=replaced(":method", "CONNECT")),
    malformed("an extended CONNECT", base=[*replaced(":method", "CONNECT"),
              (":protocol", "websocket")]),
    case("too large a declared body", headers(1, [*POST, ("content-length", "9999999")]),
         want=(REFUSAL,)),
    malformed("many fields", *[(f"x-{n}", "y") for n in range(300)]),
    case("more DATA than content-length", headers(1, [*POST, ("content-length", "3")]), data(1),
         want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
    case("less DATA than content-length", headers(1, [*POST, ("content-length", "9")]),
         data(1, b"hello", True), want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
    case("DATA beyond content-length in a second frame",
         headers(1, [*POST, ("content-length", "5")]), data(1), data(1, b"x", True),
         want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
    case("trailers without END_STREAM", headers(1, POST), data(1), headers(1, [("x", "y")]),
         want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
    case("a pseudo-header in trailers", headers(1, POST), data(1), get(1, [(":path", "/y")]),
         want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
    case("an upper-case name in trailers", headers(1, POST), data(1), get(1, [("X-Y", "z")]),
         want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
    case("connection in trailers", headers(1, POST), data(1), get(1, [("connection", "close")]),
         want=(CONNECTION_ERROR, STREAM_ERROR), reaches=True),
]  # fmt: skip
CASES = PREFACES + FRAMES + STREAMS + BLOCKS + REQUESTS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


LIMITS = DoorLimits(max_body=1 << 20, linger=0.02)


def _verdict(seen: Outcome) -> str:
    if seen.goaway is not None or seen.closed:
        return CONNECTION_ERROR
    if 1 in seen.resets:
        return STREAM_ERROR
    return REFUSAL if seen.statuses[1] >= 400 else IGNORED


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_a_broken_peer_gets_the_error_and_nobody_else(
    authority: Authority, case: Case
) -> None:
    app = Echo()
    async with serving(app, LIMITS, tls=authority.tls(http2=True)) as door:
        async with peer_of(door, authority, case.opening) as peer:
            peer.send(case.sent)
            if case.want == (IGNORED,):
                await peer.pong()
                peer.send(get(101))
                seen = await peer.read(101)
                assert seen.statuses[101] == 200
            else:
                seen = await peer.read(*([] if case.want == (CONNECTION_ERROR,) else [1]))
                got = _verdict(seen)
                assert got in case.want, (got, seen)
                if got == CONNECTION_ERROR:
                    assert seen.goaway is None or seen.goaway in case.codes, seen
                elif got == STREAM_ERROR:
                    assert seen.resets[1] in case.codes, seen
            complete = [call for call in app.calls if call.complete]
            if case.reaches:
                assert not [call for call in complete if call.scope["method"] == "POST"]
            elif case.want != (IGNORED,):
                assert not app.calls, [call.scope for call in app.calls]
        async with peer_of(door, authority) as peer:
            peer.send(get(1))
            assert (await peer.read(1)).statuses == {1: 200}
