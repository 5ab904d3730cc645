"""Deadlines and the bound on connections."""

import asyncio
from typing import Any

import pytest

from muxproxy.doors import DoorLimits
from tests.doors.harness import BOUND, Echo, client_of, request, serving, until


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


async def test_a_body_that_drips_is_cut_off() -> None:
    """One byte now and then is in time for `body_timeout` for ever."""
    app = Echo()
    limits = DoorLimits(body_timeout=0.2, min_body_rate=1000, linger=0.1)
    async with serving(app, limits) as door, client_of(door) as client:
        client.send(request("POST", body=b"x" * 10_000)[:-10_000])
        answer = asyncio.create_task(client.read())
        async with asyncio.timeout(BOUND):
            while not answer.done():
                client.send(b"x")
                await asyncio.sleep(0.02)
        assert answer.result().status == 408
        await until(lambda: door.open_connections == 0 and door.in_flight == 0)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
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
