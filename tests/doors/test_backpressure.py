"""Bounded memory: slow readers, uploads nobody reads, endless pipelining."""

import asyncio
from typing import Any

from muxproxy.doors import DoorLimits
from tests.doors.harness import BOUND, Gate, client_of, request, serving, until


async def test_pipelining_is_bounded() -> None:
    app = Gate()
    async with serving(app) as door, client_of(door) as client:
        client.send(request(path="/first"))
        await until(lambda: app.seen)
        client.writer.transport.set_write_buffer_limits(high=1)
        rest = request(path="/next") * 400_000
        client.send(rest)  # far beyond what sockets hold: the door stops reading
        before = -1
        while (size := client.writer.transport.get_write_buffer_size()) != before:
            before = size
            for _ in range(50):
                await asyncio.sleep(0)
        assert size > len(rest) // 2
        assert app.seen == ["/first"]
        app.gate("/next").set()
        app.gate("/first").set()
        assert (await client.read()).body == b"/first"
        for _ in range(1000):
            assert (await client.read()).body == b"/next"


async def test_an_upload_nobody_reads_stops_at_the_bound() -> None:
    free = asyncio.Event()
    sizes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await free.wait()
        more = True
        while more:
            event = await receive()
            sizes.append(len(event["body"]))
            more = event["more_body"]
        scope["extensions"]["muxproxy.splice"].start(204, [])
        scope["extensions"]["muxproxy.splice"].end()

    async with serving(app) as door, client_of(door) as client:
        total = 32 << 20
        client.send(request("POST", fields=f"Content-Length: {total}\r\n") + bytes(total))
        transport = client.writer.transport
        before = -1
        while (size := transport.get_write_buffer_size()) != before:
            before = size
            for _ in range(50):
                await asyncio.sleep(0)
        assert size > total // 2  # held back at the client
        free.set()
        assert (await client.read()).status == 204
        assert sum(sizes) == total
        assert sizes[0] <= 768 << 10  # the first take is all that was buffered


async def test_a_slow_reader_pauses_the_app_and_memory_stays_bounded() -> None:
    total = 48 << 20
    piece = bytes(16 << 10)
    high = 64 << 10
    peak = 0
    pauses = 0
    stalled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal peak, pauses
        splice = scope["extensions"]["muxproxy.splice"]
        free = asyncio.Event()
        free.set()

        def pause() -> None:
            nonlocal pauses
            pauses += 1
            free.clear()
            stalled.set()

        splice.watch(pause, free.set, lambda: None)
        splice.start(200, [(b"content-length", b"%d" % total)])
        for _ in range(total // len(piece)):
            await free.wait()
            splice.write(piece)
            peak = max(peak, splice.buffered)
        splice.end()

    async with serving(app, DoorLimits(write_high=high)) as door, client_of(door) as client:
        client.send(request())
        await stalled.wait()
        assert len((await client.read()).body) == total
        assert pauses > 0
        assert peak <= high + len(piece) + 1024


async def test_send_waits_for_a_slow_reader() -> None:
    count = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            count += 1

    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while count != before or count == 0:
            before = count
            for _ in range(50):
                await asyncio.sleep(0)
        assert count < 400
        door.abort_all()
        await until(lambda: door.in_flight == 0)


async def test_watch_tells_at_once_what_is_so_already() -> None:
    told: list[str] = []
    late = asyncio.Event()

    def pause() -> None:
        if not told:
            told.append("pause")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        splice = scope["extensions"]["muxproxy.splice"]
        splice.start(200, [])
        while not told:
            splice.write(bytes(1 << 20))
            await asyncio.sleep(0)
            splice.watch(pause, lambda: None, lambda: told.append("gone"))
        while (await receive())["type"] != "http.disconnect":
            pass
        splice.watch(lambda: None, lambda: None, lambda: told.append("gone late"))
        late.set()

    async with serving(app) as door, client_of(door) as client:
        client.send(request())
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: told)
        client.reset()
        async with asyncio.timeout(BOUND):
            await late.wait()
        assert told == ["pause", "gone", "gone late"]
