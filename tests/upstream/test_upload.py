"""Streamed request bodies: framing, back-pressure, sources that fail, early answers."""

import asyncio

import pytest

from muxproxy.errors import MuxError
from muxproxy.upstream import UpstreamError
from tests.upstream.peer import OK, PATIENCE, Conn


def record(into: list[bytes], end: bytes):
    """Reads a request until `end`, answers, and waits for the client to leave."""

    async def script(conn: Conn) -> None:
        into.append(await conn.reader.readuntil(end))
        await conn.say(OK)
        await conn.gone()

    return script


async def parts(*items: bytes):
    for item in items:
        await asyncio.sleep(0)
        yield item


async def test_chunked(serve, ask_at) -> None:
    seen: list[bytes] = []
    ask = ask_at(peer := await serve(record(seen, b"0\r\n\r\n")))
    for _ in range(2):
        reply = await ask(body=parts(b"hello", b"", b"x" * 17))
        assert await reply.read(10) == b"ok"
        break
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked" in head and b"content-length" not in head
    assert body == b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"
    assert ask.origin.stats().idle == 1 and len(peer.conns) == 1


async def test_known_length(serve, ask_at) -> None:
    seen: list[bytes] = []
    ask = ask_at(await serve(record(seen, b"world")))
    reply = await ask(body=parts(b"hello ", b"world"), length=11)
    assert await reply.read(10) == b"ok"
    assert b"\r\ncontent-length: 11\r\n\r\nhello world" in seen[0]
    assert b"transfer-encoding" not in seen[0]


@pytest.mark.parametrize(("length", "word"), [(3, "longer"), (9, "shorter")])
async def test_a_body_that_belies_its_length_is_broken_off(length, word, serve, ask_at) -> None:
    seen: list[bytes] = []

    async def script(conn: Conn) -> None:
        await conn.head()
        seen.append(await conn.reader.read())

    ask = ask_at(peer := await serve(script))
    with pytest.raises(ValueError, match=word):
        await ask(body=parts(b"hi", b"ho"), length=length)
    assert ask.origin.stats().open == 0
    async with asyncio.timeout(PATIENCE):
        while not seen:
            await asyncio.sleep(0.001)
    assert len(seen[0]) < length and len(peer.conns) == 1


async def test_a_source_that_fails_breaks_the_request_off(serve, ask_at) -> None:
    seen: list[bytes] = []

    async def script(conn: Conn) -> None:
        try:
            seen.append(await conn.reader.read())
            seen.append(await conn.reader.read())
        except ConnectionError:
            pass

    async def failing():
        yield b"half"
        raise MuxError("body_too_large", "too much")

    ask = ask_at(await serve(script))
    with pytest.raises(MuxError) as caught:
        await ask(body=failing())
    assert caught.value.code == "body_too_large"
    async with asyncio.timeout(PATIENCE):
        while not seen:
            await asyncio.sleep(0.001)
    assert b"0\r\n\r\n" not in b"".join(seen)


async def test_an_early_answer_comes_while_the_body_is_still_sent(serve, ask_at) -> None:
    closed = asyncio.Event()

    async def endless():
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def script(conn: Conn) -> None:
        await conn.head()
        await conn.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await conn.gone()

    ask = ask_at(await serve(script))
    reply = await ask(body=endless())
    assert reply.status == 413 and await reply.read(10) == b"big"
    async with asyncio.timeout(PATIENCE):
        await closed.wait()
    assert ask.origin.stats().open == 0  # half a request is on it


async def test_an_early_success_goes_on_being_fed(serve, ask_at) -> None:
    """Both directions at once, and the connection serves again when both are complete."""

    async def script(conn: Conn) -> None:
        await conn.head()
        await conn.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        got = await conn.reader.readuntil(b"0\r\n\r\n")
        await conn.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(got), got))
        await conn.gone()

    headed = asyncio.Event()

    async def body():
        await headed.wait()
        yield b"late"

    ask = ask_at(await serve(script))
    reply = await ask(body=body())
    headed.set()
    assert await reply.read(100) == b"4\r\nlate\r\n0\r\n\r\n"
    assert ask.origin.stats().idle == 1


async def test_an_answer_before_a_large_body_is_read_is_delivered(serve, ask_at) -> None:
    done = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.head()
        await conn.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await done.wait()

    ask = ask_at(await serve(script))
    reply = await ask(body=b"x" * (16 << 20))
    assert reply.status == 413 and await reply.read(10) == b"big"
    done.set()
    assert ask.origin.stats().open == 0


async def test_a_server_that_does_not_read_holds_the_source_back(serve, ask_at) -> None:
    given = 0
    go = asyncio.Event()

    async def body():
        nonlocal given
        for _ in range(512):
            given += 65536
            yield b"x" * 65536

    async def script(conn: Conn) -> None:
        await conn.head()
        await go.wait()
        await conn.reader.readuntil(b"\r\n0\r\n\r\n") if False else await drain(conn)
        await conn.say(OK)
        await conn.gone()

    async def drain(conn: Conn) -> None:
        tail = b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            tail = (tail + await conn.reader.read(1 << 20))[-16:]

    ask = ask_at(await serve(script))
    task = asyncio.create_task(ask(body=body()))
    before = -1
    while before != given:
        before = given
        for _ in range(30):
            await asyncio.sleep(0.002)
    assert 0 < given < 512 * 65536
    go.set()
    async with asyncio.timeout(PATIENCE):
        assert await (await task).read(10) == b"ok"
    assert given == 512 * 65536


@pytest.mark.parametrize("body", ["bytes", "iterator"])
async def test_a_server_that_stops_reading_times_out(body: str, serve, ask_at) -> None:
    async def endless():
        while True:
            yield b"x" * 65536

    async def script(conn: Conn) -> None:
        await conn.head()
        await asyncio.Event().wait()

    ask = ask_at(await serve(script), idle=0.05)
    with pytest.raises(UpstreamError) as caught:
        await ask(body=b"x" * (32 << 20) if body == "bytes" else endless())
    assert caught.value.cause == "timeout" and "took no more" in caught.value.message


async def test_a_caller_who_sends_slowly_is_no_slow_upstream(serve, ask_at) -> None:
    async def slow():
        yield b"a"
        await asyncio.sleep(0.2)
        yield b"b"

    ask = ask_at(await serve(record([], b"0\r\n\r\n")), first_byte=0.05)
    assert await (await ask(body=slow())).read(10) == b"ok"


async def test_cancelling_ends_the_source(serve, ask_at) -> None:
    closed = asyncio.Event()
    begun = asyncio.Event()

    async def stuck():
        try:
            yield b"a"
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def script(conn: Conn) -> None:
        await conn.gone()

    ask = ask_at(await serve(script))
    task = asyncio.create_task(ask(body=stuck()))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closed.wait()
    assert ask.origin.stats().open == 0
