"""Raw bytes on real sockets: what is served, in which order."""

import asyncio
from typing import Any

import pytest

from tests.doors.harness import SMALL, Echo, Gate, client_of, request, serving, until
from tests.doors.malformed import get


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


async def test_pipelined_requests_are_called_and_answered_in_order() -> None:
    app = Gate()
    async with serving(app) as door, client_of(door) as client:
        client.send(b"".join(request("POST", f"/{n}", b"abc") for n in range(20)))
        for number in range(20):
            await until(lambda: len(app.seen) == number + 1)  # noqa: B023
            app.gate(f"/{number}").set()
            assert (await client.read()).body == b"/%d" % number
        assert app.seen == [f"/{n}" for n in range(20)]


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
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        answer = await client.read()
        assert (answer.status, answer.body) == (401, b"no")
        assert answer.headers["connection"] == "close"
        client.send(b"x" * 100_000)  # read and thrown away: no reset destroys the answer
        assert await client.closed()


async def test_expect_continue_is_sent_when_the_app_reads() -> None:
    reading = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
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
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["muxproxy.splice"].start(401, [(b"content-length", b"0")])
        scope["extensions"]["muxproxy.splice"].end()

    async with serving(app, SMALL) as door, client_of(door) as client:
        client.send(request("POST", fields="Expect: 100-continue\r\nContent-Length: 5\r\n"))
        answer = await client.read()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert await client.closed()
