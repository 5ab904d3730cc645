"""One connection over real sockets: framing as sockets deliver it, ends, back-pressure, time."""

import asyncio
import time
from operator import attrgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muxproxy.upstream import UpstreamError, Upstreams
from tests.upstream.cases import CASES, TRAILING, Case
from tests.upstream.peer import OK, PATIENCE, Ask, Conn, Peer, Taker, spec_for

each = pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))


async def play(ask, case: Case, at_once: bool = True) -> None:
    """Ask for the case and check what comes; bytes behind may be late unless `at_once`."""
    async with asyncio.timeout(PATIENCE):
        if case.body is None:
            with pytest.raises(UpstreamError) as caught:
                await ask(case.method)
            assert caught.value.cause == ("reset" if case.close else "protocol")
            assert caught.value.sent
            assert ask.origin.stats().open == 0
            return
        reply = await ask(case.method)
        assert reply.status == case.status
        taker = Taker()
        reply.pump(taker)
        assert await taker.whole() == case.body
        assert taker.ended == case.clean
        if case.broken:
            assert taker.error and taker.error.cause == ("reset" if case.close else "protocol")
        while not at_once and not case.keep and ask.origin.stats().open:
            await asyncio.sleep(0)
        assert ask.origin.stats().idle == (case.keep and case.clean)
        assert ask.origin.stats().in_flight == 0


def speaker(case: Case, how: str, extra: bytes = b"") -> object:
    async def script(conn: Conn) -> None:
        await conn.request()
        if how == "whole":
            await conn.say(case.wire + extra)
        else:
            await conn.trickle(case.wire)
        if case.close:
            conn.close()
        await conn.gone()

    return script


@each
async def test_each_response_whole(case: Case, serve, ask_at) -> None:
    await play(ask_at(await serve(speaker(case, "whole"))), case)


@pytest.mark.parametrize("case", [c for c in CASES if len(c.wire) < 2000], ids=attrgetter("name"))
async def test_each_response_byte_by_byte(case: Case, serve, ask_at) -> None:
    await play(ask_at(await serve(speaker(case, "trickle"))), case, at_once=False)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.clean and not c.close], ids=attrgetter("name")
)
@pytest.mark.parametrize("extra", TRAILING.values(), ids=TRAILING.keys())
async def test_bytes_behind_a_response_cost_the_connection(case, extra, serve, ask_at) -> None:
    ask = ask_at(peer := await serve(speaker(case, "whole", extra)))
    reply = await ask(case.method)
    assert await reply.read(1000) == case.body
    async with asyncio.timeout(PATIENCE):
        while ask.origin.stats().open:  # at once, or when the late bytes come in
            await asyncio.sleep(0)
    assert len(peer.conns) == 1


@pytest.mark.parametrize("extra", [b"x", OK, b"\r\n"])
async def test_bytes_on_an_idle_connection_close_it(extra: bytes, serve, ask_at) -> None:
    speak = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(OK)
        await speak.wait()
        await conn.say(extra)
        await conn.gone()

    ask = ask_at(await serve(script))
    await (await ask()).read(10)
    assert ask.origin.stats().idle == 1
    speak.set()
    async with asyncio.timeout(PATIENCE):
        while ask.origin.stats().open:
            await asyncio.sleep(0)


async def test_body_bytes_come_before_a_fault_in_the_same_read(serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nzz")
        await conn.gone()

    taker = Taker()
    (await (ask_at(await serve(script)))()).pump(taker)
    assert await taker.whole() == b"hi"
    assert taker.error and "chunk size" in taker.error.message


async def test_chunks_are_delivered_as_they_come_one_call_per_read(serve, ask_at) -> None:
    step = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for i in range(5):
            await step.wait()
            step.clear()
            await conn.say(b"2\r\na%d\r\n2\r\nb%d\r\n" % (i, i))
        await step.wait()
        await conn.say(b"0\r\n\r\n")
        await conn.gone()

    taker = Taker()
    (await (ask_at(await serve(script)))()).pump(taker)
    for i in range(5):  # chunk n + 1 leaves the server only after chunk n is here
        taker.some.clear()
        step.set()
        async with asyncio.timeout(PATIENCE):
            await taker.some.wait()
        assert taker.parts[i] == b"a%db%d" % (i, i)
    step.set()
    await taker.whole()
    assert taker.ended and len(taker.parts) == 5


# -- time


TINY = 0.05


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("first_byte", b""),
        ("first_byte", b"HTTP/1.1 200 OK\r\n"),
        ("first_byte", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("idle", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi"),
        ("total", b""),
        ("total", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi"),
    ],
)
async def test_timeouts(setting: str, said: bytes, serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(said)
        await conn.gone()

    ask = ask_at(await serve(script), **{setting: 0.5 if setting == "total" else TINY})
    taker = Taker()
    try:
        (await ask()).pump(taker)
        await taker.whole()
        error = taker.error
        assert taker.body == b"hi"
    except UpstreamError as caught:
        error = caught
    assert error and (error.cause, error.code, error.status) == ("timeout", "upstream_timeout", 504)
    assert f"timeouts.{setting}" in error.message and "127.0.0.1" in error.message
    assert ask.origin.stats().open == 0


async def test_a_deadline_of_the_request_counts_as_well(serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.gone()

    ask = ask_at(await serve(script), first_byte=1.0)
    with pytest.raises(UpstreamError) as caught:
        await ask(deadline_ns=time.perf_counter_ns())
    assert "total" in caught.value.message


# -- ends


async def test_a_reset_amid_the_body_breaks_it(serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await taker.some.wait()
        sock = conn.writer.get_extra_info("socket")
        sock.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER 0: a reset, not an end
        conn.reset()

    taker = Taker()
    (await (ask_at(await serve(script)))()).pump(taker)
    assert await taker.whole() == b"hello"
    assert taker.error and (taker.error.cause, taker.error.code) == ("reset", "upstream_died")


EVENTS = [b'data: {"n":%d,"t":"%b"}\n\n' % (n, b"x" * (n * 7 % 40)) for n in range(20)]
RECORDED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS)
    + b"0\r\n\r\n"
)


@given(st.sets(st.integers(1, len(RECORDED) - 1), max_size=30))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_partition_over_a_socket_gives_the_same_body(cuts: set[int]) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(RECORDED)], strict=True):
            await conn.say(RECORDED[a:b])
            await asyncio.sleep(0)
        await conn.gone()

    peer = await Peer.start(script)
    client = Upstreams()
    reply = await Ask(client, client.origin(spec_for(peer.port)))()
    body = await reply.read(10000)
    await client.aclose()
    await peer.aclose()
    assert body == b"".join(EVENTS)
