"""What the holder of a Reply can do: pump, pause, read, cancel, detach."""

import asyncio

import pytest

from muxproxy.upstream import UpstreamError
from tests.upstream.peer import OK, PATIENCE, Conn, Taker, answers

TINY = 0.05


async def test_what_came_before_pump_is_delivered_at_once(serve, ask_at) -> None:
    reply = await ask_at(await serve(answers(OK)))()
    taker = Taker()
    reply.pump(taker)
    assert taker.ended and taker.parts == [b"ok"]
    with pytest.raises(RuntimeError):
        reply.pump(Taker())


async def test_read_gives_up_on_a_body_beyond_its_limit(serve, ask_at) -> None:
    ask = ask_at(await serve(answers(OK)))
    with pytest.raises(UpstreamError) as caught:
        await (await ask()).read(1)
    assert caught.value.cause == "protocol"


# -- back-pressure


async def flood(conn: Conn, sent: list[int]) -> None:
    await conn.request()
    await conn.say(b"HTTP/1.1 200 OK\r\n\r\n")
    part = b"x" * 65536
    while True:
        await conn.say(part)
        sent.append(len(part))


async def settled(sent: list[int]) -> int:
    """What the server could send before everything between us is full."""
    before = -1
    while before != len(sent):
        before = len(sent)
        for _ in range(50):
            await asyncio.sleep(0.002)
    return sum(sent)


@pytest.mark.parametrize("when", ["before pump", "after pump"])
async def test_a_reader_that_pauses_bounds_what_is_read(when: str, serve, ask_at) -> None:
    sent: list[int] = []
    peer = await serve(lambda conn: flood(conn, sent))
    reply = await ask_at(peer)()
    taker = Taker()
    if when == "after pump":
        reply.pump(taker)
        reply.pause()
    buffered = await settled(sent)
    assert buffered < 32 << 20  # the kernel's buffers and one of ours, not the whole flood
    if when == "before pump":
        assert reply.held_size < 1 << 20
        reply.pump(taker)
    else:
        assert len(taker.body) < 1 << 20
        reply.resume()
    taker.some.clear()
    async with asyncio.timeout(PATIENCE):
        while len(taker.body) < buffered:
            await taker.some.wait()
            taker.some.clear()
    reply.cancel()


async def test_a_reply_that_ends_while_paused_leaves_a_connection_that_reads(serve, ask_at) -> None:
    ask = ask_at(peer := await serve(answers(OK)))

    class Pauser(Taker):
        def data(self, data: bytes) -> None:
            super().data(data)
            reply.pause()

    for _ in range(3):
        reply = await ask()
        taker = Pauser()
        reply.pump(taker)
        assert await taker.whole() == b"ok"
        reply.pause()  # too late: it is no longer ours
    assert len(peer.conns) == 1


async def test_a_caller_who_does_not_read_is_no_idle_upstream(serve, ask_at) -> None:
    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        await go.wait()
        await conn.say(b"llo")
        await conn.gone()

    ask = ask_at(await serve(script), idle=TINY)
    taker = Taker()
    reply = await ask()
    reply.pump(taker)
    reply.pause()
    await asyncio.sleep(TINY * 4)
    assert not taker.over.is_set()
    go.set()
    reply.resume()
    assert await taker.whole() == b"hello" and taker.ended


async def test_a_reply_nobody_takes_is_closed_after_the_idle_time(serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        await conn.gone()

    ask = ask_at(await serve(script), idle=TINY)
    reply = await ask()
    async with asyncio.timeout(PATIENCE):
        while ask.origin.stats().open:
            await asyncio.sleep(0.01)
    taker = Taker()
    reply.pump(taker)
    assert taker.body == b"he" and taker.error and taker.error.cause == "timeout"


@pytest.mark.parametrize("when", ["before pump", "in data", "after data"])
async def test_cancel_closes_at_once_and_nothing_follows(when: str, serve, ask_at) -> None:
    left = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        await conn.gone()
        left.set()

    class Canceller(Taker):
        def data(self, data: bytes) -> None:
            super().data(data)
            if when == "in data":
                reply.cancel()

    ask = ask_at(await serve(script))
    reply = await ask()
    taker = Canceller()
    if when != "before pump":
        reply.pump(taker)
        async with asyncio.timeout(PATIENCE):
            await taker.some.wait()
    if when != "in data":
        reply.cancel()
    assert ask.origin.stats().open == 0
    async with asyncio.timeout(PATIENCE):
        await left.wait()
    assert not taker.over.is_set()
    reply.cancel()  # again: nothing


async def test_cancel_within_the_last_data_brings_no_end(serve, ask_at) -> None:
    class Canceller(Taker):
        def data(self, data: bytes) -> None:
            super().data(data)
            reply.cancel()

    go = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(OK[:-2])
        await go.wait()
        await conn.say(b"ok")
        await conn.gone()

    ask = ask_at(await serve(script))
    reply = await ask()
    taker = Canceller()
    reply.pump(taker)
    go.set()
    async with asyncio.timeout(PATIENCE):
        await taker.some.wait()
    assert not taker.over.is_set() and ask.origin.stats().open == 0


async def test_a_switch_of_protocols_hands_the_transport_over(serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.head()
        await conn.say(b"HTTP/1.1 101 S\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nfirst")
        await conn.say((await conn.reader.readexactly(4)).upper())
        await conn.gone()

    class Raw(asyncio.Protocol):
        def __init__(self) -> None:
            self.got = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            self.got.set_result(data)

    ask = ask_at(await serve(script))
    reply = await ask(b"GET", headers=[(b"connection", b"upgrade"), (b"upgrade", b"echo")])
    assert reply.status == 101
    with pytest.raises(RuntimeError):
        reply.pump(Taker())
    transport, leftover = reply.detach()
    assert leftover == b"first" and ask.origin.stats().open == 0
    raw = Raw()
    transport.set_protocol(raw)
    transport.resume_reading()
    transport.write(b"ping")
    async with asyncio.timeout(PATIENCE):
        assert await raw.got == b"PING"
    transport.abort()
