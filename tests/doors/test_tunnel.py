"""CONNECT: policy, blind bytes both ways, half-close, back-pressure, failures."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from muxproxy.doors import DoorLimits
from muxproxy.errors import MuxError
from tests.doors.harness import BOUND, Echo, client_of, reset, serving, until


@asynccontextmanager
async def far_end(handle: Any) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def connect(port: int, host: str = "127.0.0.1") -> bytes:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()


class Policy:
    """Judges by `verdict` alone, and never looks into a tunnel."""

    off = True

    def __init__(self, verdict: Any = "tunnel") -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, int]] = []

    def connect(self, host: str, port: int, headers: Any) -> Any:
        self.asked.append((host, port))
        return self.verdict


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    writer.write(b"[end]")
    writer.close()


async def test_bytes_pass_both_ways_with_half_close() -> None:
    app = Echo()
    async with (
        far_end(upper) as port,
        serving(app, tunnels=Policy()) as door,
        client_of(door) as client,
    ):
        client.send(connect(port) + b"early ")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        client.send(b"GET / HTTP/1.1\r\n\r\n\0\xff")
        assert await client.reader.readexactly(26) == b"EARLY GET / HTTP/1.1\r\n\r\n\0\xff"
        client.writer.write_eof()
        assert await client.reader.read() == b"[end]"
        assert door.stats.tunnels == 1
        assert not app.calls
        await until(lambda: door.open_connections == 0)


async def test_the_far_end_may_close_first() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        assert await reader.read() == b"still here"
        writer.close()

    async with (
        far_end(hello) as port,
        serving(Echo(), tunnels=Policy()) as door,
        client_of(door) as client,
    ):
        client.send(connect(port))
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.read() == b"bye"
        client.send(b"still here")
        client.writer.write_eof()
        await until(lambda: door.open_connections == 0)


@pytest.mark.parametrize("who", ["client", "far end"])
async def test_a_reset_on_one_side_ends_the_other(who: str) -> None:
    accepted: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    async with (
        far_end(hold) as port,
        serving(Echo(), tunnels=Policy()) as door,
        client_of(door) as client,
    ):
        client.send(connect(port))
        await client.reader.readuntil(b"\r\n\r\n")
        _, writer = await accepted
        if who == "client":
            client.reset()
        else:
            reset(writer)
            assert await client.closed()
        async with asyncio.timeout(BOUND):
            await ended.wait()
        await until(lambda: door.open_connections == 0)


@pytest.mark.parametrize("slow", ["client", "far end"])
async def test_back_pressure_holds_the_fast_side(slow: str) -> None:
    total = 48 << 20
    free = asyncio.Event()
    got = asyncio.get_running_loop().create_future()
    sent: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if slow == "client":
            sent.append(writer)
            writer.write(bytes(total))
        else:
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            await free.wait()
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            got.set_result(len(await reader.readexactly(total)))
        await reader.read()
        writer.close()

    async with (
        far_end(talk) as port,
        serving(Echo(), tunnels=Policy()) as door,
        client_of(door) as client,
    ):
        client.send(connect(port))
        await client.reader.readuntil(b"\r\n\r\n")
        if slow == "client":
            await until(lambda: sent)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        else:
            sent.append(client.writer)
            client.send(bytes(total))
        before = -1
        while (size := sent[0].transport.get_write_buffer_size()) != before:
            before = size
            for _ in range(100):
                await asyncio.sleep(0)
        assert size > total // 4
        if slow == "client":
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await client.reader.readexactly(total)) == total
        else:
            free.set()
            assert await got == total


async def test_the_policy_s_refusal_is_answered() -> None:
    refuse = Policy(MuxError("not_implemented", "set base_url instead"))
    async with serving(Echo(), tunnels=refuse) as door, client_of(door) as client:
        client.send(b"CONNECT API.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n")
        answer = await client.read()
        assert answer.status == 501
        assert json.loads(answer.body)["error"]["message"] == "set base_url instead"
        assert await client.closed()
        assert refuse.asked == [("api.example", 443)]


async def test_without_a_policy_there_are_no_tunnels() -> None:
    async with serving(Echo()) as door, client_of(door) as client:
        client.send(connect(443))
        assert (await client.read()).status == 501


async def test_a_forbidden_address_is_refused_after_resolution() -> None:
    options: dict[str, Any] = {
        "tunnels": Policy(),
        "permit_address": lambda host, ip, port: not ip.startswith("127."),
    }
    async with (
        far_end(upper) as port,
        serving(Echo(), **options) as door,
        client_of(door) as client,
    ):
        client.send(connect(port))
        assert (await client.read()).status == 403


async def test_an_unreachable_host_is_a_502() -> None:
    async with far_end(upper) as port:
        pass  # closed again: nobody listens there
    async with serving(Echo(), tunnels=Policy()) as door, client_of(door) as client:
        client.send(connect(port))
        assert (await client.read()).status == 502
        assert await client.closed()


async def test_a_client_that_leaves_while_dialing_leaves_nothing_behind() -> None:
    # 192.0.2.0/24 is reserved for documentation: nothing answers there, if a route exists at all.
    limits = DoorLimits(connect_timeout=0.5)
    async with serving(Echo(), limits, tunnels=Policy()) as door:
        async with client_of(door) as client:
            client.send(connect(9, "192.0.2.1"))
            await until(lambda: door.open_connections == 1)
        await until(lambda: door.open_connections == 0)
