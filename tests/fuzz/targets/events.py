"""Server-sent events: any cut gives the same; little is held."""

from __future__ import annotations

from muxproxy.proxy.opening import Events, document, overload
from muxproxy.sse import Framer
from tests.fuzz.wire import cuts

SEEDS = [
    b'data: {"a":1}\n\nevent: x\ndata: {}\n\n: ping\n\ndata: [DONE]\n\n',
    b"\xef\xbb\xbfdata:a\r\ndata:b\r\n\r\ndata\r\rid: 1\rretry: 5\r\r",
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n',
]
TOKENS = [
    *(b"data: ", b"data:", b"event: error\n", b"\n\n", b"\r\n\r\n", b"\r", b"\n", b": ping\n"),
    *(b'{"error":', b'{"type":"overloaded_error"}', b"}", b"{", b"\xff", b"\xef\xbb\xbf", b"\xe2"),
]
_LIMIT = 100


def check(data: bytes) -> None:
    data = data[:4096]
    for limit in (_LIMIT, 1 << 20):
        whole = Framer(limit)
        wanted = [*whole.feed(data), *whole.finish()]
        for size in (1, (data[-1] if data else 0) % 29 + 2):
            cut = Framer(limit)
            found = []
            for part in cuts(data, size):
                found += cut.feed(part)
                assert len(cut.pending) <= limit + size + 2
            assert [*found, *cut.finish()] == wanted
            assert cut.skipped == whole.skipped
    events = Events()
    events.enough(data)
    for told in (overload(events.found), overload(data)):
        assert told is None or told.isprintable()
    document(data)
