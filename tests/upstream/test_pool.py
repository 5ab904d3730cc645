"""Pooling: reuse, limits, the queue, expiry, stale connections, cancellation, descriptors."""

import asyncio
import gc

import pytest

from muxproxy.upstream import Request, UpstreamError, Upstreams
from tests.upstream.peer import OK, PATIENCE, Conn, Taker, answers, spec_for


async def eventually(condition) -> None:
    """Let the loop turn until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def held(release: asyncio.Event):
    """Answers each request only after `release`."""

    async def script(conn: Conn) -> None:
        while True:
            await conn.request()
            await release.wait()
            await conn.say(OK)

    return script


async def test_a_connection_serves_again(serve, ask_at) -> None:
    ask = ask_at(peer := await serve(answers(OK)))
    for number in range(5):
        reply = await ask(body=b"x" * number)
        assert reply.reused == (number > 0)
        assert await reply.read(10) == b"ok"
    stats = ask.origin.stats()
    assert len(peer.conns) == 1
    assert (stats.open, stats.idle, stats.in_flight, stats.waiting) == (1, 1, 0, 0)
    assert (stats.connects_total, stats.reused_total) == (1, 4)


async def test_the_last_used_is_used_first(serve, ask_at) -> None:
    release = asyncio.Event()
    ask = ask_at(peer := await serve(held(release)))
    tasks = [asyncio.create_task(ask()) for _ in range(3)]
    await eventually(lambda: len(peer.conns) == 3)
    release.set()
    replies = [await task for task in tasks]
    for reply in replies:
        await reply.read(10)
    last = ask.origin._idle[-1]
    await (await ask()).read(10)
    assert ask.origin._idle[-1] is last


async def test_equal_specs_share_a_pool_and_others_do_not(upstreams: Upstreams) -> None:
    one = upstreams.origin(spec_for(1))
    assert upstreams.origin(spec_for(1)) is one
    assert upstreams.origin(spec_for(1, idle=5.0)) is not one


async def test_no_more_connections_than_allowed_and_first_come_first_served(serve, ask_at) -> None:
    release = asyncio.Event()
    ask = ask_at(peer := await serve(held(release)), max_connections=2)
    order: list[int] = []

    async def one(number: int) -> None:
        reply = await ask()
        order.append(number)
        await reply.read(10)

    tasks = [asyncio.create_task(one(number)) for number in range(8)]
    await eventually(lambda: ask.origin.stats().waiting == 6 and ask.origin.stats().open == 2)
    release.set()
    await asyncio.gather(*tasks)
    assert order == list(range(8)) and len(peer.conns) == 2
    assert ask.origin.stats().idle == 2


async def test_waiting_too_long_is_an_overload(serve, ask_at) -> None:
    release = asyncio.Event()
    ask = ask_at(await serve(held(release)), max_connections=1, connect=0.05)
    first = asyncio.create_task(ask())
    await eventually(lambda: ask.origin.stats().open == 1)
    with pytest.raises(UpstreamError) as caught:
        await ask()
    assert (caught.value.code, caught.value.status, caught.value.sent) == ("overloaded", 503, False)
    assert "max_connections" in caught.value.message
    release.set()
    await (await first).read(10)
    assert ask.origin.stats().waiting == 0


async def test_a_waiter_gets_the_place_of_a_connection_that_closes(serve, ask_at) -> None:
    ask = ask_at(
        peer := await serve(answers(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))),
        max_connections=1,
    )

    async def one() -> bytes:
        return await (await ask()).read(10)

    assert await asyncio.gather(*[one() for _ in range(5)]) == [b"ok"] * 5
    assert len(peer.conns) == 5 and ask.origin.stats().open == 0


async def test_no_more_idle_than_allowed(serve, ask_at) -> None:
    release = asyncio.Event()
    ask = ask_at(peer := await serve(held(release)), max_idle=1)
    tasks = [asyncio.create_task(ask()) for _ in range(3)]
    await eventually(lambda: len(peer.conns) == 3)
    release.set()
    for task in tasks:
        await (await task).read(10)
    assert ask.origin.stats().idle == ask.origin.stats().open == 1


async def test_idle_connections_expire(serve, ask_at) -> None:
    ask = ask_at(await serve(answers(OK)), idle_expiry=0.05)
    await (await ask()).read(10)
    assert ask.origin.stats().idle == 1
    await eventually(lambda: ask.origin.stats().open == 0)


async def test_a_connection_that_the_server_closes_leaves_the_pool(serve, ask_at) -> None:
    ask = ask_at(await serve(answers(OK, close=True)))
    await (await ask()).read(10)
    await eventually(lambda: ask.origin.stats().open == 0)


# -- cancellation


async def drive(coroutine, steps: int) -> bool:
    """Let the coroutine run, cancel it after `steps` turns; whether it was cancelled."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    try:
        reply = await task
    except asyncio.CancelledError:
        return True
    except UpstreamError:
        return False
    await reply.read(10)
    return False


@pytest.mark.parametrize("state", ["fresh", "pooled", "waiting", "streamed"])
async def test_cancelling_at_any_turn_leaves_the_pool_consistent(state: str, serve, ask_at) -> None:
    async def body():
        for _ in range(3):
            await asyncio.sleep(0)
            yield b"x"

    async def script(conn: Conn) -> None:
        while True:
            head = await conn.head()
            if b"chunked" in head:
                await conn.reader.readuntil(b"0\r\n\r\n")
            await conn.say(OK)

    ask = ask_at(peer := await serve(script), max_connections=2)
    cancelled = 0
    for steps in range(60):
        blockers = []
        if state == "pooled":
            await (await ask()).read(10)
        if state == "waiting":
            blockers = [await ask(), await ask()]

            async def unblock(blockers=blockers, steps=steps) -> None:
                for _ in range(steps // 2):
                    await asyncio.sleep(0)
                for reply in blockers:
                    await reply.read(10)

            freeing = asyncio.create_task(unblock())
        members = {"body": body()} if state == "streamed" else {}
        cancelled += await drive(ask(**members), steps)
        if state == "waiting":
            await freeing
        stats = ask.origin.stats()
        assert stats.in_flight == stats.opening == stats.waiting == 0, (steps, stats)
        assert await (await ask()).read(10) == b"ok"
        assert ask.origin.stats().open <= 2
    assert cancelled
    for conn in peer.conns:
        assert conn.writer is not None


async def test_cancelling_a_request_under_way_closes_its_socket(serve, ask_at) -> None:
    left = asyncio.Event()

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.gone()
        left.set()

    ask = ask_at(peer := await serve(script))
    task = asyncio.create_task(ask())
    await eventually(lambda: len(peer.conns) == 1 and ask.origin.stats().in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ask.origin.stats().open == 0
    async with asyncio.timeout(PATIENCE):
        await left.wait()


async def test_cancelling_when_the_head_has_just_come(serve, ask_at) -> None:
    """The future is done, the task not yet awake: the connection must still be closed."""

    async def script(conn: Conn) -> None:
        await conn.gone()

    ask = ask_at(await serve(script))
    task = asyncio.create_task(ask())
    await eventually(lambda: ask.origin.stats().in_flight == 1)
    (connection,) = ask.origin._all
    await eventually(lambda: connection.reply is not None)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ask.origin.stats().open == 0


async def test_cancelling_many_waiters_loses_no_place(serve, ask_at) -> None:
    release = asyncio.Event()
    ask = ask_at(await serve(held(release)), max_connections=1)
    tasks = [asyncio.create_task(ask()) for _ in range(10)]
    await eventually(lambda: ask.origin.stats().waiting == 9)
    for task in tasks[1::2]:
        task.cancel()
    release.set()
    done = await asyncio.gather(*[_read(task) for task in tasks], return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in done] == [False, True] * 5
    stats = ask.origin.stats()
    assert (stats.open, stats.idle, stats.waiting, stats.opening) == (1, 1, 0, 0)


async def _read(task) -> bytes:
    return await (await task).read(10)


# -- closing


async def test_closing_fails_what_is_under_way(serve) -> None:
    release = asyncio.Event()
    peer = await serve(held(release))
    client = Upstreams()
    origin = client.origin(spec_for(peer.port, max_connections=1))
    ask = Request(method=b"POST", target=b"/", headers=[])
    tasks = [asyncio.create_task(client.send(origin, ask)) for _ in range(2)]
    await eventually(lambda: origin.stats().waiting == 1 and origin.stats().open == 1)
    await client.aclose()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, UpstreamError) and error.code == "shutting_down"
    with pytest.raises(UpstreamError):
        await client.send(origin, ask)


async def test_a_pool_that_is_no_longer_configured_ends_with_its_last_exchange(
    serve, upstreams: Upstreams
) -> None:
    release = asyncio.Event()
    peer = await serve(held(release))
    spec, other = spec_for(peer.port), spec_for(peer.port, idle=9.0)
    origin = upstreams.origin(spec)
    ask = Request(method=b"POST", target=b"/", headers=[])
    task = asyncio.create_task(upstreams.send(origin, ask))
    await eventually(lambda: origin.stats().in_flight == 1)
    upstreams.origin(other)
    upstreams.retain({other})
    release.set()
    assert await (await task).read(10) == b"ok"
    assert origin.stats().open == 0
    # an exchange that holds the old snapshot may still begin
    assert await (await upstreams.send(origin, ask)).read(10) == b"ok"
    assert origin.stats().open == 0
    assert upstreams.origin(spec) is not origin


async def test_no_descriptor_is_left(serve, open_descriptors) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()
        if conn.number % 3 == 0:
            await conn.say(OK)
        elif conn.number % 3 == 1:
            await conn.say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        else:
            await conn.say(b"rubbish")
        await conn.gone()

    peer = await serve(script)
    gc.collect()
    before = open_descriptors()
    client = Upstreams()
    origin = client.origin(spec_for(peer.port, connect=5.0))
    ask = Request(method=b"POST", target=b"/", headers=[])

    async def one(number: int) -> None:
        task = asyncio.create_task(client.send(origin, ask))
        if number % 4 == 0:
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
        reply = await task
        taker = Taker()
        reply.pump(taker)
        if number % 2:
            reply.cancel()

    await asyncio.gather(*[one(number) for number in range(60)], return_exceptions=True)
    await client.aclose()
    await eventually(lambda: open_descriptors() <= before)
