"""Raw bytes on real sockets: what is served, in which order, and what is refused."""

import asyncio
import json
from operator import attrgetter

import pytest

from muxproxy.doors import DoorLimits
from tests.doors.harness import BOUND, Echo, client_of, request, serving, until
from tests.doors.malformed import CASES, Case, get

SMALL = DoorLimits(max_body=1 << 20, linger=0.2)


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_a_malformed_request_is_refused_and_never_reaches_the_app(case: Case) -> None:
    app = Echo()
    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(case.raw)
        answer = await client.read()
        assert answer.status == case.status
        assert answer.headers["connection"] == "close"
        error = json.loads(answer.body)["error"]
        assert set(error) == {"message", "type", "code"}
        assert door.stats.refused == {error["code"]: 1}
        assert await client.closed()
        assert not [call for call in app.calls if call.complete]
        if not case.late:
            assert not app.calls
        else:
            await until(lambda: door.in_flight == 0)
            assert all(call.left for call in app.calls)


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_the_verdict_on_a_malformed_request_holds_behind_a_good_one(case: Case) -> None:
    """Pipelined: the good one is answered, the bad one refused, whatever follows is not read."""
    app = Echo()
    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(request(path="/good") + case.raw + request(path="/smuggled"))
        assert (await client.read()).headers["x-path"] == "/good"
        answer = await client.read()
        assert answer.status == case.status
        assert await client.closed()
        assert "/smuggled" not in [call.scope["path"] for call in app.calls]
        assert [c.scope["path"] for c in app.calls if c.complete] == ["/good"]


async def test_a_fault_late_in_an_upload_reaches_the_app_as_a_disconnect() -> None:
    app = Echo()
    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(request("POST", fields="Transfer-Encoding: chunked\r\n") + b"5\r\nhello\r\n")
        await until(lambda: app.calls and app.calls[0].body == b"hello")
        client.send(b"zz\r\n")
        assert (await client.read()).status == 400
        await app.over.wait()
        assert app.calls[0].left and not app.calls[0].complete


async def test_a_chunked_body_beyond_the_limit_is_cut_off() -> None:
    app = Echo()
    async with serving(app, DoorLimits(max_body=1000)) as door, client_of(door) as client:
        client.send(request("POST", fields="Transfer-Encoding: chunked\r\n"))
        client.send(b"200\r\n" + b"x" * 512 + b"\r\n200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n")
        assert (await client.read()).status == 413
        await until(lambda: door.in_flight == 0)
        assert not any(call.complete for call in app.calls)


def _bodies() -> list[tuple[str, bytes, bytes]]:
    coded = "Transfer-Encoding: chunked\r\n"
    return [
        ("no body", request(), b""),
        ("empty body", request("POST", body=b""), b""),
        ("counted", request("POST", body=b"hello world"), b"hello world"),
        (
            "counted, looks like a head",
            request("POST", body=b"\r\n\r\nGET / x"),
            b"\r\n\r\nGET / x",
        ),
        (
            "chunked",
            request("POST", fields=coded) + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            b"hello world",
        ),
        ("chunked, empty", request("POST", fields=coded) + b"0\r\n\r\n", b""),
        (
            "chunked with everything",
            request("POST", fields=coded)
            + b'00A;a;b=c;d="e\\"f;g" ; h\r\n0123456789\r\n1\r\n\n\r\n'
            + b"0;x\r\nX-T: v\r\nY-T:\r\n\r\n",
            b"0123456789\n",
        ),
        ("behind empty lines", b"\r\n\r\n" + request("POST", body=b"x"), b"x"),
        ("HTTP/1.0", b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        ("values with tabs and high bytes", get(b"X-A:\t a\tb\xff \t\r\n"), b""),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize(("name", "raw", "body"), _bodies(), ids=[b[0] for b in _bodies()])
async def test_slicing_changes_nothing(name: str, raw: bytes, body: bytes, size: int) -> None:
    app = Echo()
    async with serving(app, SMALL) as door:
        for step in (len(raw), size):
            async with client_of(door) as client:
                await client.trickle(raw, step)
                answer = await client.read()
                assert (answer.status, answer.body) == (200, body), name
        whole, sliced = app.calls
        assert whole.body == sliced.body == body
        volatile = ("client", "extensions")
        for key in set(whole.scope) - set(volatile):
            assert whole.scope[key] == sliced.scope[key]


async def test_the_scope_tells_all() -> None:
    app = Echo()
    async with serving(app) as door, client_of(door) as client:
        client.send(
            request("POST", "/a%20b/%E2%82%AC?x=%20&y", b"{}", "X-One:  1 \r\nx-one: 2\r\n")
        )
        await client.read()
        scope = app.calls[0].scope
        assert scope["type"] == "http" and scope["asgi"]["version"] == "3.0"
        assert (scope["method"], scope["http_version"], scope["scheme"]) == ("POST", "1.1", "http")
        assert (scope["path"], scope["raw_path"]) == ("/a b/€", b"/a%20b/%E2%82%AC")
        assert scope["query_string"] == b"x=%20&y"
        assert scope["headers"] == [
            (b"host", b"a.example"),
            (b"x-one", b"1"),
            (b"x-one", b"2"),
            (b"content-length", b"2"),
        ]
        assert scope["client"] == client.writer.get_extra_info("sockname")
        assert scope["server"] == ("127.0.0.1", door.port)
        assert scope["extensions"]["muxproxy.target"] == "origin"
        assert scope["extensions"]["muxproxy.accepted"] > 0


@pytest.mark.parametrize(
    ("target", "authority", "path", "query", "host"),
    [
        ("http://B.example/v1/x?y=1", ("http", "b.example", 80), "/v1/x", b"y=1", b"B.example"),
        ("http://b.example", ("http", "b.example", 80), "/", b"", b"b.example"),
        ("http://b.example?z", ("http", "b.example", 80), "/", b"z", b"b.example"),
        ("HTTPS://b.example:8443/", ("https", "b.example", 8443), "/", b"", b"b.example:8443"),
        ("http://[::1]:99/a", ("http", "::1", 99), "/a", b"", b"[::1]:99"),
        (
            "https://b.example/a?http://c/",
            ("https", "b.example", 443),
            "/a",
            b"http://c/",
            b"b.example",
        ),
    ],
)
async def test_absolute_form_names_the_target_and_overrules_host(
    target: str, authority: tuple[str, str, int], path: str, query: bytes, host: bytes
) -> None:
    app = Echo()
    async with serving(app) as door, client_of(door) as client:
        client.send(request("GET", target))
        await client.read()
        scope = app.calls[0].scope
        assert scope["extensions"]["muxproxy.target"] == "absolute"
        assert scope["extensions"]["muxproxy.authority"] == authority
        assert (scope["path"], scope["query_string"]) == (path, query)
        assert [v for k, v in scope["headers"] if k == b"host"] == [host]


async def test_options_asterisk() -> None:
    app = Echo()
    async with serving(app) as door, client_of(door) as client:
        for target in ("*", "http://b.example"):
            client.send(request("OPTIONS", target))
            assert (await client.read()).status == 200
        assert [c.scope["raw_path"] for c in app.calls] == [b"*", b"*"]


async def test_keep_alive_serves_many_on_one_connection() -> None:
    app = Echo()
    async with serving(app) as door, client_of(door) as client:
        for number in range(50):
            client.send(request("POST", f"/{number}", b"x" * number))
            answer = await client.read()
            assert "connection" not in answer.headers
            assert answer.body == b"x" * number
        assert (door.stats.connections, door.stats.requests) == (1, 50)


class Gate:
    """Answers path /n only once released; notes the order of calls."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def gate(self, path: str) -> asyncio.Event:
        return self.gates.setdefault(path, asyncio.Event())

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        self.seen.append(scope["path"])
        await receive()
        await self.gate(scope["path"]).wait()
        splice = scope["extensions"]["muxproxy.splice"]
        splice.start(200, [])
        splice.write(scope["path"].encode())
        splice.end()


async def test_pipelined_requests_are_called_and_answered_in_order() -> None:
    app = Gate()
    async with serving(app) as door, client_of(door) as client:
        client.send(b"".join(request("POST", f"/{n}", b"abc") for n in range(20)))
        for number in range(20):
            await until(lambda: len(app.seen) == number + 1)  # noqa: B023
            app.gate(f"/{number}").set()
            assert (await client.read()).body == b"/%d" % number
        assert app.seen == [f"/{n}" for n in range(20)]


async def test_pipelining_is_bounded() -> None:
    app = Gate()
    async with serving(app) as door, client_of(door) as client:
        client.send(request(path="/first"))
        await until(lambda: app.seen)
        client.writer.transport.set_write_buffer_limits(high=1)
        rest = request(path="/next") * 400_000
        client.send(rest)  # far beyond what sockets hold: the door stops reading
        before = -1
        while (size := client.writer.transport.get_write_buffer_size()) != before:
            before = size
            for _ in range(50):
                await asyncio.sleep(0)
        assert size > len(rest) // 2
        assert app.seen == ["/first"]
        app.gate("/next").set()
        app.gate("/first").set()
        assert (await client.read()).body == b"/first"
        for _ in range(1000):
            assert (await client.read()).body == b"/next"


async def test_connection_close_is_honoured() -> None:
    app = Echo()
    async with serving(app) as door, client_of(door) as client:
        client.send(request("GET", fields="Connection: foo, Close\r\n"))
        assert (await client.read()).headers["connection"] == "close"
        assert await client.closed()


async def test_http_1_0_closes_unless_asked() -> None:
    app = Echo()
    async with serving(app) as door:
        async with client_of(door) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.read()).headers["connection"] == "close"
            assert await client.closed()
        async with client_of(door) as client:
            for _ in range(3):
                client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (await client.read()).headers["connection"] == "keep-alive"


async def test_an_answer_before_the_end_of_the_upload_closes() -> None:
    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        answer = await client.read()
        assert (answer.status, answer.body) == (401, b"no")
        assert answer.headers["connection"] == "close"
        client.send(b"x" * 100_000)  # read and thrown away: no reset destroys the answer
        assert await client.closed()


class Watcher:
    """Never answers; notes who left and how it was told."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.gone = asyncio.Event()
        self.told = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        splice = scope["extensions"]["muxproxy.splice"]
        splice.watch(lambda: None, lambda: None, self.gone.set)
        event = await receive()
        self.began.set()
        while event["type"] != "http.disconnect":
            event = await receive()
        assert splice.gone
        splice.write(b"ignored")
        splice.end()
        self.told.set()


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize(
    "raw", [request(), request("POST", body=b"xyz")[:-1]], ids=["whole", "part"]
)
async def test_a_client_that_leaves_is_noticed_at_once(how: str, raw: bytes) -> None:
    app = Watcher()
    async with serving(app) as door, client_of(door) as client:
        client.send(raw)
        await app.began.wait()
        if how == "fin":
            client.writer.close()
        else:
            client.reset()
        async with asyncio.timeout(BOUND):
            await app.gone.wait()
            await app.told.wait()
        await until(lambda: door.open_connections == 0 and door.in_flight == 0)


LAST = [
    ("connection: close", request(fields="Connection: close\r\n"), False),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", False),
    ("door option", request(), True),
]


@pytest.mark.parametrize(("raw", "option"), [c[1:] for c in LAST], ids=[c[0] for c in LAST])
async def test_a_half_closed_client_is_served(raw: bytes, option: bool) -> None:
    app = Gate()
    async with serving(app, DoorLimits(half_close=option)) as door, client_of(door) as client:
        client.send(raw)
        client.writer.write_eof()
        await until(lambda: app.seen)
        for _ in range(20):  # the FIN has been seen by then
            await asyncio.sleep(0)
        app.gate("/").set()
        assert (await client.read()).body == b"/"
        assert await client.closed()


async def test_half_closed_with_pipelined_requests() -> None:
    app = Gate()
    async with serving(app, DoorLimits(half_close=True)) as door, client_of(door) as client:
        client.send(request(path="/1") + request(path="/2"))
        client.writer.write_eof()
        for path in ("/1", "/2"):
            app.gate(path).set()
            assert (await client.read()).body == path.encode()
        assert await client.closed()


async def test_a_half_closed_client_that_really_left_is_noticed_on_write() -> None:
    gone = asyncio.Event()

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        splice = scope["extensions"]["muxproxy.splice"]
        splice.watch(lambda: None, lambda: None, gone.set)
        splice.start(200, [])
        while not gone.is_set():
            splice.write(b"tick")
            await asyncio.sleep(0.001)

    async with serving(app, DoorLimits(half_close=True)) as door, client_of(door) as client:
        client.send(request())
        await client.reader.readuntil(b"tick")
        client.writer.close()
        async with asyncio.timeout(BOUND):
            await gone.wait()


async def test_expect_continue_is_sent_when_the_app_reads() -> None:
    reading = asyncio.Event()

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await reading.wait()
        body = (await receive())["body"]
        splice = scope["extensions"]["muxproxy.splice"]
        splice.start(200, [])
        splice.write(body)
        splice.end()

    async with serving(app) as door, client_of(door) as client:
        head = request("POST", fields="Expect: 100-Continue\r\nContent-Length: 5\r\n")
        client.send(head)
        await until(lambda: door.in_flight == 1)
        reading.set()
        assert (await client.read()).status == 100
        client.send(b"hello")
        assert (await client.read()).body == b"hello"
        client.send(head + b"world")  # does not wait: no 100 needed
        answer = await client.read()
        assert (answer.status, answer.body) == (200, b"world")


async def test_a_final_answer_instead_of_continue_closes() -> None:
    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        scope["extensions"]["muxproxy.splice"].start(401, [(b"content-length", b"0")])
        scope["extensions"]["muxproxy.splice"].end()

    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(request("POST", fields="Expect: 100-continue\r\nContent-Length: 5\r\n"))
        answer = await client.read()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert await client.closed()


async def test_an_upload_nobody_reads_stops_at_the_bound() -> None:
    free = asyncio.Event()
    sizes: list[int] = []

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        await free.wait()
        more = True
        while more:
            event = await receive()
            sizes.append(len(event["body"]))
            more = event["more_body"]
        scope["extensions"]["muxproxy.splice"].start(204, [])
        scope["extensions"]["muxproxy.splice"].end()

    async with serving(app) as door, client_of(door) as client:
        total = 32 << 20
        client.send(request("POST", fields=f"Content-Length: {total}\r\n") + bytes(total))
        transport = client.writer.transport
        before = -1
        while (size := transport.get_write_buffer_size()) != before:
            before = size
            for _ in range(50):
                await asyncio.sleep(0)
        assert size > total // 2  # held back at the client
        free.set()
        assert (await client.read()).status == 204
        assert sum(sizes) == total
        assert sizes[0] <= 768 << 10  # the first take is all that was buffered


@pytest.mark.parametrize(
    ("name", "raw", "status"),
    [
        ("head", b"GET / HTTP/1.1\r\nHost: a\r\n", 408),
        ("first byte of a head", b"G", 408),
        ("body", request("POST", body=b"hello")[:-1], 408),
        ("chunk", request("POST", fields="Transfer-Encoding: chunked\r\n") + b"5\r\nhel", 408),
        ("nothing", b"", 0),
        ("next request", request(), 0),
    ],
)
async def test_time_outs(name: str, raw: bytes, status: int) -> None:
    app = Echo()
    limits = DoorLimits(header_timeout=0.1, body_timeout=0.1, keep_alive=0.1, linger=0.1)
    async with serving(app, limits) as door, client_of(door) as client:
        client.send(raw)
        if name == "next request":
            assert (await client.read()).status == 200
        if status:
            assert (await client.read()).status == status
        assert await client.closed()
        await until(lambda: door.open_connections == 0 and door.in_flight == 0)
        assert all(call.left for call in app.calls if not call.complete)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    gone = asyncio.Event()

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        splice = scope["extensions"]["muxproxy.splice"]
        splice.watch(lambda: None, lambda: None, gone.set)
        splice.start(200, [])
        splice.write(bytes(32 << 20))
        await gone.wait()

    async with serving(app, DoorLimits(send_timeout=0.1)) as door, client_of(door) as client:
        client.send(request())
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(BOUND):
            await gone.wait()
        assert door.stats.refused == {"send_timeout": 1}


async def test_connections_beyond_the_bound_are_turned_away() -> None:
    async with (
        serving(Echo(), DoorLimits(max_connections=2, linger=0.2)) as door,
        client_of(door) as one,
        client_of(door) as two,
    ):
        for client in (one, two):
            client.send(request())
            assert (await client.read()).status == 200
        async with client_of(door) as three:
            assert (await three.read()).status == 503
            assert await three.closed()
        one.send(request())
        assert (await one.read()).status == 200
