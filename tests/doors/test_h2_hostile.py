"""HTTP/2 peers that break no rule of framing and mean no good: floods, and those who never take
or never send what is due. Memory and calls stay bounded, and others are served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hyperframe.frame import PingFrame, RstStreamFrame, WindowUpdateFrame

from muxproxy.doors import Door, DoorLimits
from tests.doors.h2_peer import (
    GET,
    POST,
    PREFACE,
    Peer,
    data,
    get,
    headers,
    peer_of,
    raw,
    settings,
)
from tests.doors.harness import Echo, serving, until
from tests.doors.test_h2_conformance import CALM, CANCEL, INTERNAL, NO_ERROR, REFUSED, authority
from tests.doors.test_tls import Authority

__all__ = ["authority"]

LIMITS = DoorLimits(max_body=1 << 20, linger=0.02)
QUICK = DoorLimits(linger=0.02, send_timeout=0.2, body_timeout=0.2, min_body_rate=0)


class Stubborn:
    """Never answers, and does not mind that its client left; counts."""

    def __init__(self) -> None:
        self.running = self.most = self.begun = 0
        self.release = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        self.begun += 1
        self.most = max(self.most, self.running)
        try:
            await self.release.wait()
        finally:
            self.running -= 1


class Sender:
    """Answers with more than any window holds."""

    def __init__(self, size: int = 4 << 20) -> None:
        self.size, self.sent, self.ended = size, 0, False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/small":
            await Echo()(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while self.sent < self.size:
            body = {"type": "http.response.body", "body": bytes(1 << 14), "more_body": True}
            waiting = asyncio.ensure_future(send(body))
            leaving = asyncio.ensure_future(_left(receive))
            await asyncio.wait([waiting, leaving], return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not waiting.done() or leaving.done():
                waiting.cancel()
                break
            self.sent += 1 << 14
        else:
            await send({"type": "http.response.body"})
        self.ended = True


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def facing(
    app: Any, limits: DoorLimits, authority: Authority, opening: bytes = PREFACE + settings()
) -> AsyncIterator[tuple[Door, Peer]]:
    async with (
        serving(app, limits, tls=authority.tls(http2=True)) as door,
        peer_of(door, authority, opening) as peer,
    ):
        yield door, peer


async def served(door: Door, authority: Authority) -> None:
    async with peer_of(door, authority) as peer:
        small = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/small")]
        peer.send(get(1, small))
        assert (await peer.read(1)).statuses == {1: 200}


async def test_rapid_reset_ends_the_connection(authority: Authority) -> None:
    """CVE-2023-44487."""
    app = Echo()
    async with facing(app, LIMITS, authority) as (door, peer):
        for stream in range(1, 4001, 2):
            peer.send(headers(stream, POST), RstStreamFrame(stream, error_code=8).serialize())
        seen = await peer.read()
        assert seen.goaway == CALM or (seen.goaway is None and seen.closed)
        assert len(app.calls) <= 250
        assert not any(call.complete for call in app.calls)
        await until(lambda: door.in_flight == 0)
        await served(door, authority)


async def test_an_editor_that_cancels_while_one_types_is_no_attack(authority: Authority) -> None:
    app = Echo()
    async with facing(app, LIMITS, authority) as (_door, peer):
        for stream in range(1, 200, 2):
            peer.send(headers(stream, POST), RstStreamFrame(stream, error_code=8).serialize())
            await peer.pong()
        peer.send(get(201))
        assert (await peer.read(201)).statuses[201] == 200


async def test_calls_of_streams_that_were_reset_are_bounded_too(authority: Authority) -> None:
    app = Stubborn()
    async with facing(app, LIMITS, authority) as (door, peer):
        for stream in range(1, 301, 2):
            peer.send(get(stream), RstStreamFrame(stream, error_code=8).serialize())
        await until(lambda: app.begun == 100)
        peer.send(get(1001))
        seen = await peer.read(1001)
        assert (seen.resets[1001], seen.goaway) == (REFUSED, None)
        assert app.most == app.begun == 100
        app.release.set()
        await until(lambda: door.in_flight == 0)


FLOODS = {
    "PING": PingFrame(0, bytes(8)).serialize(),
    "SETTINGS": settings({3: 100}),
    "empty SETTINGS": settings(),
    "PRIORITY": raw(2, 0, 7, (5).to_bytes(4, "big") + b"\1"),
    "WINDOW_UPDATE": WindowUpdateFrame(0, window_increment=1).serialize(),
    "an unknown frame": raw(0xBB, 0, 0, bytes(100)),
    "RST_STREAM of a closed stream": RstStreamFrame(1, error_code=8).serialize(),
    "DATA on a closed stream": data(1, b""),
    "empty DATA": data(3, b""),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_the_connection(authority: Authority, name: str) -> None:
    """From a peer that reads nothing: 9 bytes may ask for 17 (CVE-2019-9512, -9515, -9518)."""
    app = Echo()
    async with facing(app, LIMITS, authority) as (door, peer):
        peer.send(get(1), headers(3, POST))
        await peer.read(1)
        frames = FLOODS[name]
        for _ in range(5000):
            peer.send(frames)
        await until(lambda: door.open_connections == 0)
        assert door.stats.refused == {"overloaded": 1}
        await served(door, authority)


async def test_an_answer_nobody_takes_is_given_up(authority: Authority) -> None:
    """By the stream's window: the peer reads all, and asks for no more (CVE-2019-9511)."""
    app = Sender()
    async with facing(app, QUICK, authority) as (door, peer):
        peer.credit = False
        peer.send(get(1))
        seen = await peer.read(1)
        assert seen.resets == {1: CANCEL}
        assert len(seen.bodies[1]) == 65535
        await until(lambda: app.ended)
        assert app.sent <= 65535 + (64 << 10)
        assert door.stats.refused == {"send_timeout": 1}
        await peer.pong()
        await served(door, authority)


async def test_a_peer_that_reads_nothing_is_given_up(authority: Authority) -> None:
    """By the kernel's window, its own being huge."""
    app = Sender(64 << 20)
    async with serving(app, QUICK, tls=authority.tls(http2=True)) as door:
        opening = PREFACE + settings({4: (1 << 31) - 1}) + raw(8, 0, 0, b"\x7f\0\0\0")
        async with peer_of(door, authority, opening) as peer:
            peer.writer.transport.pause_reading()
            peer.send(get(1))
            await until(lambda: door.in_flight and app.sent)
            await until(lambda: door.open_connections == 0)
            assert app.sent < 32 << 20
            assert door.stats.refused["send_timeout"]
        await served(door, authority)


async def test_a_peer_that_takes_its_time_is_not(authority: Authority) -> None:
    app = Sender(300_000)
    async with facing(app, DoorLimits(linger=0.02, send_timeout=1.0), authority) as (_, peer):
        peer.credit = False
        peer.send(get(1))
        for _ in range(20):
            await asyncio.sleep(0.1)
            peer.send(*(raw(8, 0, s, (16384).to_bytes(4, "big")) for s in (0, 1)))
        seen = await peer.read(1)
        assert (len(seen.bodies[1]), seen.resets) == (app.sent, {})


@pytest.mark.parametrize("begun", [b"", data(1)], ids=["nothing", "some of it"])
async def test_a_body_that_does_not_come_is_given_up(authority: Authority, begun: bytes) -> None:
    app = Echo()
    async with facing(app, QUICK, authority) as (door, peer):
        peer.send(headers(1, POST), begun)
        assert (await peer.read(1)).resets == {1: CANCEL}
        assert door.stats.refused == {"request_timeout": 1}
        await until(lambda: door.in_flight == 0)
        assert app.calls[0].left
        peer.send(get(3))
        assert (await peer.read(3)).statuses == {3: 200}


async def test_data_behind_an_early_answer_harms_no_other_stream(authority: Authority) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET":
            await Echo()(scope, receive, send)
            return
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})

    async with facing(app, LIMITS, authority) as (_door, peer):
        peer.send(headers(1, POST), data(1))
        seen = await peer.read(1)
        assert (seen.statuses, seen.bodies, seen.ended) == ({1: 413}, {1: b"no"}, {1})
        await peer.pong()
        assert seen.resets == {1: NO_ERROR}  # RFC 9113 8.1
        for _ in range(8):  # more than the connection's window, were it not given back
            peer.send(data(1, bytes(16000)))
            await peer.pong()
        peer.send(get(3))
        assert (await peer.read(3)).statuses[3] == 200
        assert seen.goaway is None


async def test_a_connection_serves_more_than_a_thousand_requests(authority: Authority) -> None:
    async with facing(Echo(), LIMITS, authority) as (_door, peer):
        for first in range(1, 2401, 80):
            streams = range(first, first + 80, 2)
            peer.send(*(get(stream) for stream in streams))
            seen = await peer.read(*streams)
        assert len(seen.ended) == 1200
        assert set(seen.statuses.values()) == {200}


async def test_an_answer_that_comes_after_its_client_left_ends(authority: Authority) -> None:
    """Found: hypercorn let it wait for ever for a sender that had stopped."""
    app = Late()
    async with facing(app, LIMITS, authority) as (door, peer):
        peer.send(get(1))
        await until(lambda: app.calls)
        peer.writer.transport.abort()
        await until(lambda: app.left)
        app.release.set()
        await until(lambda: door.in_flight == 0 and door.open_connections == 0)


class Late:
    """Answers although its client left."""

    def __init__(self) -> None:
        self.calls = self.left = 0
        self.release = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        await _left(receive)
        self.left += 1
        await self.release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(100)})


async def test_connections_beyond_the_bound_are_not_taken(authority: Authority) -> None:
    async with (
        facing(Echo(), DoorLimits(max_connections=2, linger=0.02), authority) as (door, one),
        peer_of(door, authority) as two,
    ):
        await one.pong()
        await two.pong()
        async with peer_of(door, authority) as third:
            assert (await third.read()).closed
        assert door.open_connections == 2
        await one.pong()


async def test_an_answer_that_fails_midway_has_no_proper_end(authority: Authority) -> None:
    """Found: hypercorn left such a stream open, and its client waiting."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if scope["method"] == "POST":
            raise OSError

    async with facing(app, LIMITS, authority) as (_, peer):
        for stream, fields in ((1, GET), (3, POST)):
            peer.send(get(stream, fields))
            seen = await peer.read(stream)
            assert (seen.bodies[stream], seen.resets[stream]) == (b"begun", INTERNAL)
