"""The head parser by itself, and against llhttp: never two interpretations."""

from operator import attrgetter

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.doors import DoorLimits
from muxproxy.doors.head import CHUNKED, Head, HeadParser, split_authority
from muxproxy.doors.refusals import Refused
from tests.doors.malformed import FIELDS, FRAMING, HOSTS, LINES, Case, get, post

LIMITS = DoorLimits(max_body=1 << 20)


def parse(raw: bytes, parser: HeadParser | None = None) -> Head:
    return (parser or HeadParser(LIMITS)).parse(raw[: raw.index(b"\r\n\r\n")])


# What the connection sees to before a head is complete.
HEADS = [c for c in LINES + FIELDS + HOSTS + FRAMING if b"\r\n\r\n" in c.raw and c.status != 413]
HEADS = [c for c in HEADS if c.status != 431 or "many" in c.name]
HEADS = [c for c in HEADS if not c.name.startswith(("an empty line", "too many empty", "a TLS"))]
HEADS = [c for c in HEADS if c.name not in ("LF CR as line end", "bare CR ends the head")]


@pytest.mark.parametrize("case", HEADS, ids=attrgetter("name"))
def test_malformed_heads_are_refused_also_when_the_cache_is_warm(case: Case) -> None:
    parser = HeadParser(LIMITS)
    parse(get(b"X-A: b\r\n"), parser)
    parse(post(b"Content-Length: 5\r\n"), parser)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            parse(case.raw, parser)
        assert refused.value.status == case.status


def test_what_is_cached_gives_the_same_head() -> None:
    parser = HeadParser(LIMITS)
    raw = post(b"X-Long: " + b"v" * 200 + b"\r\nAuthorization: Bearer x\r\nContent-Length: 7\r\n")
    first = parse(raw, parser)
    assert parse(raw, parser) == first
    assert first.length == 7
    assert parse(post(b"Content-Length: 8\r\n"), parser).length == 8
    assert parse(post(b""), parser).length == 0


def test_the_caches_are_bounded_and_hold_no_credential() -> None:
    parser = HeadParser(LIMITS)
    for number in range(5000):
        raw = b"GET /%d HTTP/1.1\r\nHost: h%d\r\nX-N: %d\r\nAuthorization: Bearer %d\r\n\r\n"
        parse(raw % (number, number, number, number), parser)
    assert max(len(parser._plain), len(parser._lines), len(parser._hosts)) <= 1024
    assert not [line for line in parser._plain if b"Bearer" in line]


@pytest.mark.parametrize(
    ("raw", "keep"),
    [
        (get(), True),
        (get(b"Connection: close\r\n"), False),
        (get(b"Connection: Keep-Alive, CLOSE\r\n"), False),
        (get(b"Connection: closed\r\n"), True),
        (get(b"Connection: x\r\nConnection: close\r\n"), False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", False),
    ],
)
def test_keep_alive(raw: bytes, keep: bool) -> None:
    assert parse(raw).keep_alive is keep


@pytest.mark.parametrize(
    ("host", "port", "want"),
    [
        (b"LOCALHOST", 80, ("localhost", 80)),
        (b"127.0.0.1:8787", 80, ("127.0.0.1", 8787)),
        (b"[::1]:1", 80, ("::1", 1)),
        (b"[::ffff:127.0.0.1]", 443, ("::ffff:127.0.0.1", 443)),
        (b"a_b-c.example.", 80, ("a_b-c.example.", 80)),
    ],
)
def test_split_authority(host: bytes, port: int, want: tuple[str, int]) -> None:
    assert split_authority(host, port) == want


class _Llhttp:
    """What llhttp makes of the same bytes."""

    def __init__(self, raw: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.body = b""
        self.done = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(raw)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.keep = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done += 1


_SEEDS = [
    get(b"X-A: b\r\n"),
    get(b"X-A:\t b c \t\r\nX-Empty:\r\n"),
    post(b"Content-Length: 5\r\n", b"hello"),
    post(b"content-length:  5 \r\nConnection: close\r\n", b"hello"),
    post(b"Transfer-Encoding: Chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a.example/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
_SPICE = st.sampled_from(
    [
        *(b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b"\0", b"\x0b", b"\x80", b"0", b"1"),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b";", b"_"),
        *(b"chunked", b"HTTP/1.1", b"#", b"?", b"*", b"@", b"\r\n\r\n", b" x", b"-", b"+"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(_SEEDS),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 3), _SPICE), min_size=1, max_size=3),
)
def test_what_we_accept_llhttp_reads_the_same_way(
    raw: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    for at, cut, spice in edits:
        raw = raw[:at] + spice + raw[at + cut :]
    end = raw.find(b"\r\n\r\n")
    if end <= 0 or raw[0] in b"\r\n":
        return
    try:
        head = HeadParser(LIMITS).parse(raw[:end])
    except Refused:
        return
    if head.line.method in ("CONNECT", "QUERY"):
        return  # llhttp takes CONNECT for an upgrade
    other = _Llhttp(raw[: end + 4])
    assert other.parser.get_method().decode() == head.line.method
    assert other.parser.get_http_version() == head.line.version
    if head.line.form == "origin":
        assert other.url.partition(b"?")[0] == head.line.raw_path
    if head.line.host is None:
        assert other.headers == head.headers
    assert other.keep == head.keep_alive
    if head.length == CHUNKED:
        assert other.done == 0
    elif head.length == 0:
        assert other.done == 1
    else:
        assert other.done == 0
        other.parser.feed_data(b"x" * head.length)
        assert (other.done, len(other.body)) == (1, head.length)
