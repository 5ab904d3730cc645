"""One exchange over a real socket: what goes out, what comes back, what never leaves."""

import asyncio

import pytest

from muxproxy.errors import MuxError
from muxproxy.upstream import UpstreamError, Upstreams
from tests.upstream.peer import OK, Ask, Conn, answers, spec_for


async def test_a_request_goes_out_as_given_and_in_one_segment(serve, ask_at) -> None:
    seen: list[bytes] = []

    async def script(conn: Conn) -> None:
        seen.append(await conn.reader.read(65536))
        await conn.say(OK)
        await conn.gone()

    ask = ask_at(peer := await serve(script))
    reply = await ask(headers=[(b"x-a", b"1"), (b"x-a", b"2")], body=b"{}")
    assert seen == [
        b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-a: 1\r\nx-a: 2\r\n"
        b"content-length: 2\r\n\r\n{}" % peer.port
    ]
    assert (reply.status, reply.reason) == (200, b"OK")
    assert reply.headers == [(b"content-length", b"2")]
    assert await reply.read(10) == b"ok"
    assert 0 < reply.sent_ns < reply.head_ns
    assert not reply.reused


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 4 << 20])
async def test_bodies_of_any_size_arrive_whole(size: int, serve, ask_at) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    seen: list[bytes] = []

    async def script(conn: Conn) -> None:
        while True:
            seen.append((await conn.request()).partition(b"\r\n\r\n")[2])
            await conn.say(OK)

    ask = ask_at(peer := await serve(script))
    for _ in range(2):
        assert await (await ask(body=body)).read(10) == b"ok"
    assert seen == [body, body] and len(peer.conns) == 1


async def test_a_head_that_cannot_be_sent_opens_nothing(serve, ask_at) -> None:
    ask = ask_at(peer := await serve(answers(OK)))
    with pytest.raises(MuxError) as caught:
        await ask(headers=[(b"x", b"a\r\nevil: b")])
    assert caught.value.code == "invalid_request"
    assert ask.origin.stats().connects_total == 0 and not peer.conns


async def test_errors_say_what_happened_and_to_whom(serve, ask_at) -> None:
    ask = ask_at(peer := await serve(answers(b"rubbish")))
    with pytest.raises(UpstreamError) as caught:
        await ask()
    error = caught.value
    assert (error.code, error.status, error.retryable) == ("upstream_protocol", 502, True)
    assert (error.cause, error.sent) == ("protocol", True)
    assert f"127.0.0.1:{peer.port}" in error.message


async def test_a_proxy_url_that_cannot_be_used(upstreams: Upstreams) -> None:
    with pytest.raises(ValueError, match="egress proxy"):
        upstreams.origin(spec_for(proxy="socks5://x"))


async def test_unused_pools_of_unknown_hosts_do_not_pile_up(serve, upstreams: Upstreams) -> None:
    peer = await serve(answers(OK))
    busy = upstreams.origin(spec_for(peer.port))
    await (await Ask(upstreams, busy)()).read(10)
    for number in range(1000):
        upstreams.origin(spec_for(number + 1, host="host.example"))
    assert len(upstreams.stats()) <= 256
    assert upstreams.origin(spec_for(peer.port)) is busy


async def test_a_dropped_pool_that_is_used_again_is_closed_with_the_rest(serve) -> None:
    peer = await serve(answers(OK))
    client = Upstreams()
    kept = client.origin(spec_for(peer.port))
    for number in range(300):
        client.origin(spec_for(number + 1, host="host.example"))
    assert not any(stats.origin.endswith(f":{peer.port}") for stats in client.stats())
    await (await Ask(client, kept)()).read(10)
    assert kept.stats().idle == 1
    await client.aclose()
    assert kept.stats().open == 0


async def test_many_at_once(serve, ask_at) -> None:
    ask = ask_at(peer := await serve(answers(OK)), max_connections=20)

    async def one() -> bytes:
        return await (await ask(body=b"{}")).read(10)

    assert await asyncio.gather(*[one() for _ in range(500)]) == [b"ok"] * 500
    assert len(peer.conns) == 20


# -- stale connections


def once_then_close(how: str):
    """Serves one request; the second on the same connection is answered by closing."""

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(OK)
        await conn.request()
        if how == "reset":
            conn.reset()
        else:
            conn.close()

    return script


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_stale_connection_is_replaced_once(how: str, serve, ask_at) -> None:
    ask = ask_at(peer := await serve(once_then_close(how)))
    for _ in range(3):
        assert await (await ask(body=b"{}")).read(10) == b"ok"
    assert len(peer.conns) == 3
    assert ask.origin.stats().stale_retries_total == 2


async def test_a_fresh_connection_that_closes_is_not_tried_again(serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()

    ask = ask_at(peer := await serve(script))
    with pytest.raises(UpstreamError) as caught:
        await ask()
    assert (caught.value.cause, caught.value.sent) == ("reset", True)
    assert len(peer.conns) == 1


async def test_a_stale_connection_is_replaced_at_the_limit_too(serve, ask_at) -> None:
    ask = ask_at(peer := await serve(once_then_close("close")), max_connections=1)
    for _ in range(3):
        assert await (await ask()).read(10) == b"ok"
    assert len(peer.conns) == 3


async def test_a_streamed_request_is_not_sent_twice(serve, ask_at) -> None:
    async def body():
        yield b"{}"

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(OK)
        await conn.head()

    ask = ask_at(peer := await serve(script))
    await (await ask()).read(10)
    with pytest.raises(UpstreamError) as caught:
        await ask(body=body())
    assert caught.value.cause == "stale" and len(peer.conns) == 1


async def test_a_response_that_began_is_not_stale(serve, ask_at) -> None:
    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(OK)
        await conn.request()
        await conn.say(b"H")

    ask = ask_at(peer := await serve(script))
    await (await ask()).read(10)
    with pytest.raises(UpstreamError) as caught:
        await ask()
    assert caught.value.cause == "reset" and len(peer.conns) == 1


async def test_a_server_that_took_its_time_had_the_request(serve, ask_at, monkeypatch) -> None:
    monkeypatch.setattr("muxproxy.upstream.connection.STALE_NS", 0)
    ask = ask_at(peer := await serve(once_then_close("close")))
    await (await ask()).read(10)
    with pytest.raises(UpstreamError) as caught:
        await ask()
    assert caught.value.cause == "reset" and len(peer.conns) == 1
