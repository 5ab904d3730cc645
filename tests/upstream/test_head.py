"""Request heads: what is written, and that nothing a caller gives can add to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.errors import MuxError
from muxproxy.upstream.egress import ProxyAddress
from muxproxy.upstream.head import Heads
from muxproxy.upstream.spec import Request
from tests.upstream.peer import spec_for


def render(proxy: ProxyAddress | None = None, spec: dict[str, object] | None = None, **members):
    defaults = {"method": b"POST", "target": b"/", "headers": []}
    heads = Heads(spec_for(**{"host": "api.example", **(spec or {})}), proxy)
    return heads.render(Request(**{**defaults, **members}))


async def source():
    yield b""


PROXY = ProxyAddress("proxy", 3128, b"Basic eDp5")
CASES = [
    # name, spec, proxy, request, head
    (
        "empty post",
        {},
        None,
        {},
        b"POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 0\r\n\r\n",
    ),
    ("get", {}, None, {"method": b"GET"}, b"GET / HTTP/1.1\r\nhost: api.example\r\n\r\n"),
    (
        "delete with a body",
        {},
        None,
        {"method": b"DELETE", "body": b"x"},
        b"DELETE / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 1\r\n\r\n",
    ),
    (
        "another method",
        {},
        None,
        {"method": b"REPORT"},
        b"REPORT / HTTP/1.1\r\nhost: api.example\r\n\r\n",
    ),
    (
        "own port",
        {"port": 8080},
        None,
        {"method": b"GET"},
        b"GET / HTTP/1.1\r\nhost: api.example:8080\r\n\r\n",
    ),
    (
        "https on 80",
        {"scheme": "https"},
        None,
        {"method": b"GET"},
        b"GET / HTTP/1.1\r\nhost: api.example:80\r\n\r\n",
    ),
    (
        "https on 443",
        {"scheme": "https", "port": 443},
        None,
        {"method": b"GET"},
        b"GET / HTTP/1.1\r\nhost: api.example\r\n\r\n",
    ),
    (
        "IPv6",
        {"host": "::1", "port": 1},
        None,
        {"method": b"GET"},
        b"GET / HTTP/1.1\r\nhost: [::1]:1\r\n\r\n",
    ),
    (
        "unix",
        {"scheme": "http+unix", "host": "/run/x", "port": 0},
        None,
        {"method": b"GET"},
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ),
    (
        "options *",
        {},
        None,
        {"method": b"OPTIONS", "target": b"*"},
        b"OPTIONS * HTTP/1.1\r\nhost: api.example\r\n\r\n",
    ),
    (
        "ours are skipped",
        {},
        None,
        {
            "headers": [
                (b"host", b"evil"),
                (b"Content-Length", b"9"),
                (b"transfer-encoding", b"x"),
                (b"a", b"b"),
            ]
        },
        b"POST / HTTP/1.1\r\nhost: api.example\r\na: b\r\ncontent-length: 0\r\n\r\n",
    ),
    (
        "order and duplicates",
        {},
        None,
        {"method": b"GET", "headers": [(b"b", b"1"), (b"a", b""), (b"b", b"\xe9")]},
        b"GET / HTTP/1.1\r\nhost: api.example\r\nb: 1\r\na: \r\nb: \xe9\r\n\r\n",
    ),
    (
        "streamed",
        {},
        None,
        {"body": source()},
        b"POST / HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n",
    ),
    (
        "streamed, known length",
        {},
        None,
        {"body": source(), "length": 5},
        b"POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 5\r\n\r\n",
    ),
    (
        "through a proxy",
        {},
        PROXY,
        {"method": b"GET", "target": b"/a?b"},
        b"GET http://api.example/a?b HTTP/1.1\r\nhost: api.example\r\n"
        b"proxy-authorization: Basic eDp5\r\n\r\n",
    ),
    (
        "https through a proxy",
        {"scheme": "https", "port": 443},
        PROXY,
        {"method": b"GET"},
        b"GET / HTTP/1.1\r\nhost: api.example\r\n\r\n",
    ),
]


@pytest.mark.parametrize(
    ("spec", "proxy", "members", "want"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_heads(spec, proxy, members, want: bytes) -> None:
    assert render(proxy, spec, **members) == want


BAD = [
    {"method": b"GET /x HTTP/1.1\r\n"},
    {"method": b""},
    {"method": b"CONNECT"},
    {"target": b""},
    {"target": b"x"},
    {"target": b"/ HTTP/1.1"},
    {"target": b"/\r\nx: y"},
    {"target": b"/\tx"},
    {"target": b"/\0"},
    {"target": b"http://evil/"},
    {"headers": [(b"", b"x")]},
    {"headers": [(b"a b", b"x")]},
    {"headers": [(b"a:b", b"x")]},
    {"headers": [(b"a\r\nb", b"x")]},
    {"headers": [(b"a\n", b"x")]},
    {"headers": [(b"\xe9", b"x")]},
    {"headers": [(b"a", b"x\r\ny: z")]},
    {"headers": [(b"a", b"x\ny: z")]},
    {"headers": [(b"a", b"x\ry")]},
    {"headers": [(b"a", b"x\0y")]},
    {"headers": [(b"a", b"x\r"), (b"b", b"\ny")]},
]


@pytest.mark.parametrize("members", BAD, ids=repr)
def test_nothing_can_be_smuggled_into_a_head(members) -> None:
    with pytest.raises(MuxError) as caught:
        render(**members)
    assert caught.value.code == "invalid_request"


@given(
    st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=12)), max_size=5),
    st.binary(max_size=10).map(lambda tail: b"/" + tail),
)
@settings(max_examples=200, deadline=None)
def test_a_head_has_exactly_the_lines_given(headers, target) -> None:
    try:
        head = render(headers=headers, target=target)
    except MuxError:
        return
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST " + target + b" HTTP/1.1" and lines[0].count(b" ") == 2
    ours = {b"host", b"content-length", b"transfer-encoding"}
    kept = [b"%b: %b" % pair for pair in headers if pair[0].lower() not in ours]
    assert lines[1:] == [b"host: api.example", *kept, b"content-length: 0", b"", b""]


def test_names_learnt_are_bounded() -> None:
    heads = Heads(spec_for(80), None)
    for number in range(2000):
        request = Request(method=b"GET", target=b"/", headers=[(b"x-%d" % number, b"v")])
        assert b"\r\nx-%d: v\r\n" % number in heads.render(request)
    assert len(heads._names) <= 512
