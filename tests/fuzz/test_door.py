"""The door over a real socket: streams of good requests, bent and cut at random.

Every connection ends in time, any cut comes to the same requests, what was refused reached nobody,
and h11 reads what was accepted the same way.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muxproxy.doors import Door, DoorLimits
from tests.fuzz.bent import TIMES, bent
from tests.fuzz.targets import door as target
from tests.fuzz.wire import Request, second_opinion

# A FIN does not mean that the client left: it is how these say that they are done.
LIMITS = DoorLimits(max_head=700, max_target=120, max_body=4000, half_close=True, linger=0.05)
BOUND = 10.0  # seconds, on a busy machine


class Noting:
    """Answers what it understood with its length; notes it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            if not event["more_body"]:
                break
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        headers = tuple(scope["headers"])
        self.requests.append(Request(scope["method"], scope["raw_path"] + query, headers, body))
        told = b"%d" % len(body)
        length = [(b"content-length", b"%d" % len(told))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": told})


async def over(door: Door, app: Noting, data: bytes, sizes: list[int]) -> list[Request]:
    """What `data`, sent in pieces of such sizes, came to."""
    app.requests = []
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    at = number = 0
    try:
        while at < len(data):
            size = sizes[number % len(sizes)] if sizes else len(data)
            writer.write(data[at : at + size])
            at += size
            number += 1
            if number < 100:  # then the kernel may join them
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        writer.write_eof()
        async with asyncio.timeout(BOUND):
            await reader.read()
    except (OSError, RuntimeError):  # it closed before all was sent
        pass
    finally:
        writer.transport.abort()
    async with asyncio.timeout(BOUND):
        while door.open_connections or door.in_flight:
            await asyncio.sleep(0)
    return app.requests


def test_streams_of_requests_over_a_socket() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        app = Noting()

        async def start() -> Door:
            door = Door(app, LIMITS)
            await door.listen("127.0.0.1:0")
            return door

        door = runner.run(start())

        @settings(
            max_examples=150 * TIMES,
            deadline=None,
            suppress_health_check=[HealthCheck.data_too_large],
        )
        @given(
            bent(target.SEEDS, target.TOKENS),
            st.lists(st.integers(1, 80), min_size=1, max_size=6),
        )
        def run(data: bytes, sizes: list[int]) -> None:
            whole = runner.run(over(door, app, data, []))
            second_opinion(data, whole)
            assert runner.run(over(door, app, data, sizes)) == whole

        try:
            run()
        finally:
            runner.run(door.aclose())
