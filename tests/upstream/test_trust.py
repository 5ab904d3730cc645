"""TLS: who is trusted, handshakes that fail, and what must survive an untidy end."""

import asyncio
from pathlib import Path

import pytest

from muxproxy.upstream import Resolver, UpstreamError
from tests.upstream.dialling import Tls, client_for, failure, good, resolver
from tests.upstream.peer import OK, PATIENCE, Conn, answers


async def test_tls_with_the_providers_ca(serve, tls: Tls) -> None:
    negotiated: list[object] = []

    async def script(conn: Conn) -> None:
        session = conn.writer.get_extra_info("ssl_object")
        negotiated.append((session.selected_alpn_protocol(), session.version()))
        while True:
            await conn.request()
            await conn.say(OK)

    peer = await serve(script, tls=tls.server)
    ask = await client_for(resolver("127.0.0.1"), peer.port, scheme="https", ca=tls.file)
    for _ in range(3):
        assert await (await ask()).read(10) == b"ok"
    assert negotiated == [("http/1.1", "TLSv1.3")]  # one connection, reused
    await ask.upstreams.aclose()


async def test_tls_to_an_address(serve, tls: Tls) -> None:
    peer = await serve(answers(OK), tls=tls.server)
    ask = await client_for(Resolver(), peer.port, scheme="https", host="127.0.0.1", ca=tls.file)
    assert await good(ask) == b"ok"


async def test_tls_with_an_unknown_ca(serve, tls: Tls) -> None:
    peer = await serve(answers(OK), tls=tls.server)
    error = await failure(await client_for(resolver("127.0.0.1"), peer.port, scheme="https"))
    assert (error.cause, error.code) == ("tls", "upstream_connect")
    assert "not trusted" in error.message and "`ca`" in error.message


async def test_tls_with_another_hosts_certificate(serve, tls: Tls) -> None:
    peer = await serve(answers(OK), tls=tls.server)
    error = await failure(
        await client_for(
            resolver("127.0.0.1"), peer.port, scheme="https", host="other.example", ca=tls.file
        )
    )
    assert error.cause == "tls" and "other.example" in error.message


async def test_tls_unverified(serve, tls: Tls) -> None:
    peer = await serve(answers(OK), tls=tls.server)
    ask = await client_for(resolver("127.0.0.1"), peer.port, scheme="https", verify=False)
    assert await good(ask) == b"ok"


async def test_a_ca_file_that_is_missing() -> None:
    client = await client_for(resolver("127.0.0.1"), 1, scheme="https", ca="/nowhere/ca.pem")
    assert (await failure(client)).cause == "connect"


async def test_a_ca_file_that_cannot_be_read(serve, tls: Tls, tmp_path: Path) -> None:
    peer = await serve(answers(OK), tls=tls.server)
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for path in (str(bad), str(tmp_path / "missing.pem")):
        ask = await client_for(resolver("127.0.0.1"), peer.port, scheme="https", ca=path)
        error = await failure(ask)
        assert error.cause == "tls" and path in error.message


async def test_tls_to_a_server_without_tls(serve) -> None:
    async def script(conn: Conn) -> None:
        await conn.reader.read(10)
        await conn.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    peer = await serve(script)
    error = await failure(await client_for(resolver("127.0.0.1"), peer.port, scheme="https"))
    assert error.cause == "tls" and "https" in error.message


@pytest.mark.parametrize("how", ["close", "hang"])
async def test_a_handshake_that_does_not_finish(how: str, serve) -> None:
    async def script(conn: Conn) -> None:
        await conn.reader.read(10)
        if how == "hang":
            await conn.gone()

    peer = await serve(script)
    patience = 0.2 if how == "hang" else 30.0
    ask = await client_for(resolver("127.0.0.1"), peer.port, scheme="https", connect=patience)
    assert (await failure(ask)).cause == ("tls" if how == "close" else "timeout")


async def test_a_paused_reader_loses_nothing_when_a_tls_server_closes(serve, tls: Tls) -> None:
    size = 3 << 20

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size)
        await conn.say(b"x" * size)
        while conn.writer.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        conn.reset()  # an end without waiting for our close_notify, as many servers do

    peer = await serve(script, tls=tls.server)
    ask = await client_for(resolver("127.0.0.1"), peer.port, scheme="https", ca=tls.file)
    reply = await ask()
    got = 0
    over = asyncio.get_running_loop().create_future()

    class Slow:
        def data(self, data: bytes) -> None:
            nonlocal got
            got += len(data)
            reply.pause()
            asyncio.get_running_loop().call_later(0.005, reply.resume)

        def end(self) -> None:
            over.set_result(None)

        def broken(self, error: UpstreamError) -> None:
            over.set_exception(error)

    reply.pump(Slow())
    async with asyncio.timeout(PATIENCE):
        await over
    assert got == size
    await ask.upstreams.aclose()


@pytest.mark.asyncio(loop_factories=["uvloop"])  # the stdlib's loop does not tell the two apart
async def test_an_until_close_body_over_tls_needs_an_orderly_end(serve, tls: Tls) -> None:
    """Without close_notify anybody on the wire may have cut it (RFC 9112 section 9.8)."""

    async def script(conn: Conn) -> None:
        await conn.request()
        await conn.say(b"HTTP/1.1 200 OK\r\n\r\nhi")
        if conn.number == 0:
            conn.close()
            await asyncio.wait_for(conn.writer.wait_closed(), PATIENCE)
        else:
            await cut.wait()
            conn.reset()

    cut = asyncio.Event()
    peer = await serve(script, tls=tls.server)
    ask = await client_for(resolver("127.0.0.1"), peer.port, scheme="https", ca=tls.file)
    assert await (await ask()).read(10) == b"hi"
    reply = await ask()
    cut.set()
    with pytest.raises(UpstreamError) as caught:
        await reply.read(10)
    assert caught.value.cause == "reset"
    await ask.upstreams.aclose()
