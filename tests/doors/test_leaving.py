"""Clients that leave, and half-closed ones that do not."""

import asyncio
from typing import Any

import pytest

from muxproxy.doors import DoorLimits
from tests.doors.harness import BOUND, Gate, client_of, request, serving, until


class Watcher:
    """Never answers; notes who left and how it was told."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.gone = asyncio.Event()
        self.told = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        splice.watch(lambda: None, lambda: None, self.gone.set)
        event = await receive()
        self.began.set()
        while event["type"] != "http.disconnect":
            event = await receive()
        assert splice.gone
        splice.write(b"ignored")
        splice.end()
        self.told.set()


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize(
    "raw", [request(), request("POST", body=b"xyz")[:-1]], ids=["whole", "part"]
)
async def test_a_client_that_leaves_is_noticed_at_once(how: str, raw: bytes) -> None:
    app = Watcher()
    async with serving(app) as door, client_of(door) as client:
        client.send(raw)
        await app.began.wait()
        if how == "fin":
            client.writer.close()
        else:
            client.reset()
        async with asyncio.timeout(BOUND):
            await app.gone.wait()
            await app.told.wait()
        await until(lambda: door.open_connections == 0 and door.in_flight == 0)


LAST = [
    ("connection: close", request(fields="Connection: close\r\n"), False),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", False),
    ("door option", request(), True),
]


@pytest.mark.parametrize(("raw", "option"), [c[1:] for c in LAST], ids=[c[0] for c in LAST])
async def test_a_half_closed_client_is_served(raw: bytes, option: bool) -> None:
    app = Gate()
    async with serving(app, DoorLimits(half_close=option)) as door, client_of(door) as client:
        client.send(raw)
        client.writer.write_eof()
        await until(lambda: app.seen)
        for _ in range(20):  # the FIN has been seen by then
            await asyncio.sleep(0)
        app.gate("/").set()
        assert (await client.read()).body == b"/"
        assert await client.closed()


async def test_half_closed_with_pipelined_requests() -> None:
    app = Gate()
    async with serving(app, DoorLimits(half_close=True)) as door, client_of(door) as client:
        client.send(request(path="/1") + request(path="/2"))
        client.writer.write_eof()
        for path in ("/1", "/2"):
            app.gate(path).set()
            assert (await client.read()).body == path.encode()
        assert await client.closed()


async def test_a_half_closed_client_that_really_left_is_noticed_on_write() -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        splice.watch(lambda: None, lambda: None, gone.set)
        splice.start(200, [])
        while not gone.is_set():
            splice.write(b"tick")
            await asyncio.sleep(0.001)

    async with serving(app, DoorLimits(half_close=True)) as door, client_of(door) as client:
        client.send(request())
        await client.reader.readuntil(b"tick")
        client.writer.close()
        async with asyncio.timeout(BOUND):
            await gone.wait()
