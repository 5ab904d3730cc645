"""How responses go out: framing, endings, breakage, back-pressure. Over real sockets."""

import asyncio
from typing import Any

import h11
import pytest

from tests.doors.harness import client_of, request, serving, until


def plain(status: int, headers: list[tuple[bytes, bytes]], *pieces: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        await receive()
        splice.start(status, headers)
        for piece in pieces:
            splice.write(piece)
        splice.end()

    return app


def sent(status: int, headers: list[tuple[bytes, bytes]], *pieces: bytes) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


BOTH = pytest.mark.parametrize("answer", [plain, sent])


@BOTH
@pytest.mark.parametrize("pieces", [(), (b"x",), (b"a" * 300, b"", b"b" * 70000, b"c")])
@pytest.mark.parametrize("counted", [True, False])
async def test_bodies_arrive_whole_and_the_connection_lives_on(
    answer: Any, pieces: tuple[bytes, ...], counted: bool
) -> None:
    body = b"".join(pieces)
    headers = [(b"X-Case", b"Kept")]
    if counted:
        headers.append((b"Content-Length", b"%d" % len(body)))
    async with serving(answer(200, headers, *pieces)) as door, client_of(door) as client:
        for _ in range(3):
            client.send(request())
            got = await client.read()
            assert (got.status, got.body, got.complete) == (200, body, True)
            assert b"\r\nX-Case: Kept\r\n" in got.head
            assert ("content-length" in got.headers) is counted
            assert "date" in got.headers


@BOTH
async def test_h11_agrees_with_what_is_written(answer: Any) -> None:
    pieces = (b"one", b"two" * 1000, b"three")
    async with serving(answer(200, [(b"a", b"b")], *pieces)) as door, client_of(door) as client:
        judge = h11.Connection(h11.CLIENT)
        judge.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        judge.send(h11.EndOfMessage())
        client.send(request())
        body = b""
        while True:
            event = judge.next_event()
            if event is h11.NEED_DATA:
                judge.receive_data(await client.reader.read(100))
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
        assert body == b"".join(pieces)


@BOTH
@pytest.mark.parametrize(
    ("method", "status", "headers", "length"),
    [
        ("HEAD", 200, [(b"content-length", b"1234")], "1234"),
        ("HEAD", 200, [], None),
        ("HEAD", 404, [(b"content-length", b"9")], "9"),
        ("GET", 204, [], None),
        ("GET", 204, [(b"content-length", b"0")], None),
        ("GET", 304, [(b"content-length", b"55")], "55"),
    ],
)
async def test_responses_without_a_body(
    answer: Any, method: str, status: int, headers: Any, length: str | None
) -> None:
    async with serving(answer(status, headers, b"never sent")) as door, client_of(door) as client:
        for _ in range(2):  # the second proves that no stray byte followed the first
            client.send(request(method))
            got = await client.read(method)
            assert got.status == status
            assert got.headers.get("content-length") == length
            assert "transfer-encoding" not in got.headers


async def test_a_provider_s_own_date_and_odd_status_pass() -> None:
    app = plain(529, [(b"date", b"yesterday")], b"{}")
    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        got = await client.read()
        assert got.head.startswith(b"HTTP/1.1 529 \r\n")
        assert got.headers["date"] == "yesterday"


async def test_http_1_0_gets_no_chunks() -> None:
    async with serving(plain(200, [], b"one", b"two")) as door, client_of(door) as client:
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        got = await client.read()
        assert (got.headers["connection"], got.body) == ("close", b"onetwo")


async def test_framing_fields_of_the_app_are_replaced() -> None:
    headers = [(b"Transfer-Encoding", b"gzip"), (b"connection", b"upgrade"), (b"keep-alive", b"9")]
    async with serving(plain(200, headers, b"x")) as door, client_of(door) as client:
        for _ in range(2):
            client.send(request())
            got = await client.read()
            assert got.body == b"x"
            assert set(got.headers) == {"date", "transfer-encoding"}


async def test_the_app_may_close() -> None:
    app = plain(200, [(b"connection", b"close")], b"x")
    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        assert (await client.read()).headers["connection"] == "close"
        assert await client.closed()


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-a", b"b\r\nx-injected: 1")],
        [(b"x-a", b"b\nc")],
        [(b"x-a", b"b\rc")],
        [(b"x-a\r\nx-b", b"c")],
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"one")],
        [(b"content-length", b"-1")],
    ],
)
async def test_headers_that_would_break_the_wire_become_a_500(headers: Any) -> None:
    async with serving(plain(200, headers, b"x")) as door, client_of(door) as client:
        client.send(request())
        got = await client.read()
        assert got.status == 500
        assert b"injected" not in got.head
        assert await client.closed()


async def test_head_and_first_bytes_leave_together() -> None:
    goon = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        splice.start(200, [])
        await asyncio.sleep(0)
        assert splice.buffered == 0 and not splice.started
        splice.write(b"first")
        await goon.wait()
        splice.end()

    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        data = await client.reader.read(65536)
        assert data.endswith(b"\r\n\r\n5\r\nfirst\r\n")
        goon.set()
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"


async def test_flush_sends_the_head_alone() -> None:
    goon = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        splice.start(200, [])
        splice.flush()
        splice.flush()
        await goon.wait()
        splice.write(b"x")
        splice.end()

    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        goon.set()
        assert await client.reader.readexactly(11) == b"1\r\nx\r\n0\r\n\r\n"


def breaking(headers: Any, how: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        await receive()
        splice.start(200, headers)
        splice.write(b"partial")
        await asyncio.sleep(0)
        if how == "abort":
            splice.abort()
            splice.write(b"ignored")
            splice.end()
        elif how == "raise":
            raise LookupError("broken on purpose")
        elif how == "cancel":
            raise asyncio.CancelledError
        elif how == "too short":
            splice.end()
        elif how == "too long":
            splice.write(b"x" * 100)

    return app


COUNTED = [(b"content-length", b"50")]


@pytest.mark.parametrize("how", ["abort", "raise", "return", "cancel"])
@pytest.mark.parametrize("headers", [[], COUNTED], ids=["chunked", "counted"])
async def test_a_broken_body_looks_broken(headers: Any, how: str) -> None:
    async with serving(breaking(headers, how)) as door, client_of(door) as client:
        client.send(request())
        got = await client.read()
        assert (got.status, got.complete) == (200, False)
        assert b"partial".startswith(got.body)
        await until(lambda: door.open_connections == door.in_flight == 0)


@pytest.mark.parametrize("how", ["too short", "too long"])
async def test_a_wrong_content_length_breaks_the_connection(how: str) -> None:
    async with serving(breaking(COUNTED, how)) as door, client_of(door) as client:
        client.send(request())
        got = await client.read()
        assert (got.status, got.complete) == (200, False)


async def test_a_body_that_only_closing_ends_is_broken_by_a_reset() -> None:
    async with serving(breaking([], "abort")) as door, client_of(door) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.read()


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("how", ["raise", "return"])
async def test_an_app_that_fails_before_the_first_byte_gets_a_500(how: str, started: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if started:
            scope["extensions"]["muxproxy.splice"].start(200, [(b"content-length", b"5")])
        if how == "raise":
            raise LookupError("broken on purpose")

    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        got = await client.read()
        assert got.status == 500 and b"internal_error" in got.body
        assert await client.closed()


async def test_misuse_is_an_error_of_the_app() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        for step in (lambda: splice.write(b"x"), splice.end):
            with pytest.raises(RuntimeError):
                step()
        splice.start(200, [])
        with pytest.raises(RuntimeError):
            splice.start(200, [])
        with pytest.raises(ValueError):
            await send({"type": "http.response.trailers"})
        splice.end()
        splice.end()
        splice.write(b"late")
        splice.abort()
        seen.append((await receive())["type"])

    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        assert (await client.read()).body == b""
        await until(lambda: seen)
        assert seen == ["http.disconnect"]
        client.send(request())
        assert (await client.read()).status == 200


async def test_two_readers_may_wait_and_one_be_cancelled() -> None:
    bodies: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        watcher = asyncio.create_task(receive())
        reader = asyncio.create_task(receive())
        await asyncio.sleep(0)
        watcher.cancel()
        event = await reader
        bodies.append(event["body"])
        scope["extensions"]["muxproxy.splice"].start(204, [])
        scope["extensions"]["muxproxy.splice"].end()

    async with serving(app) as door, client_of(door) as client:
        client.send(request("POST", fields="Content-Length: 3\r\n"))
        await until(lambda: door.in_flight)
        await asyncio.sleep(0)
        client.send(b"abc")
        assert (await client.read()).status == 204
        assert bodies == [b"abc"]
