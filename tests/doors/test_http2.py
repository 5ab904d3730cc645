"""HTTP/2 by ALPN, with a real h2 client; limits and strictness as on HTTP/1.1."""

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from muxproxy.doors import Door, DoorLimits
from tests.doors.harness import BOUND, Echo, serving, until
from tests.doors.test_tls import Authority, authority

__all__ = ["authority"]

GOOD = [(":method", "POST"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x?y=1")]


class H2Client:
    """One connection; sends what it is told, valid or not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def ask(self, headers: list[tuple[str, str]], *pieces: bytes, end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=end and not pieces)
        for index, piece in enumerate(pieces):
            self.h2.send_data(stream, piece, end_stream=end and index == len(pieces) - 1)
        self.flush()
        return stream

    async def read(self, stream: int) -> tuple[int, dict[str, str], bytes, bool]:
        """status (0: none), headers, body, complete"""
        status, headers, body = 0, {}, b""
        async with asyncio.timeout(BOUND):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    if getattr(event, "stream_id", stream) != stream:
                        continue
                    if isinstance(event, h2.events.ResponseReceived):
                        headers = dict(event.headers)
                        status = int(headers[":status"])
                    elif isinstance(event, h2.events.DataReceived):
                        body += event.data
                        self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                    elif isinstance(event, h2.events.StreamEnded):
                        self.flush()
                        return status, headers, body, True
                    elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                        return status, headers, body, False
                self.flush()
        return status, headers, body, False


async def open_h2(door: Door, authority: Authority) -> H2Client:
    context = authority.client("h2")
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", door.port, ssl=context, server_hostname="localhost"
    )
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    return H2Client(reader, writer)


async def test_requests_are_served(authority: Authority) -> None:
    app = Echo()
    async with serving(app, tls=authority.tls(http2=True)) as door:
        client = await open_h2(door, authority)
        streams = [client.ask(GOOD, b"hello", b"%d" % n) for n in range(3)]
        status, headers, body, complete = await client.read(streams[0])
        assert (status, body, complete) == (200, b"hello0", True)
        assert headers["x-path"] == "/x"
        assert "server" not in headers
        await until(lambda: sum(call.complete for call in app.calls) == 3)
        assert door.stats.connections == 1
        scope = app.calls[0].scope
        assert (scope["http_version"], scope["scheme"]) == ("2", "https")
        assert (b"host", b"a.example") in scope["headers"]
        assert scope["query_string"] == b"y=1"
        assert scope["extensions"]["muxproxy.target"] == "origin"
        client.writer.close()
        await until(lambda: door.open_connections == 0)


def changed(**pseudo: str) -> list[tuple[str, str]]:
    return [(k, pseudo.get(k[1:], v)) for k, v in GOOD]


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("no authority", [h for h in GOOD if h[0] != ":authority"], 400),
        ("empty authority", changed(authority=""), 400),
        ("authority with userinfo", changed(authority="u@a.example"), 400),
        ("authority with a path", changed(authority="a.example/x"), 400),
        ("authority and another host", [*GOOD, ("host", "b.example")], 400),
        ("two hosts", [*GOOD, ("host", "a.example"), ("host", "a.example")], 400),
        ("absolute path", changed(path="http://b.example/"), 400),
        ("asterisk with POST", changed(path="*"), 400),
        ("a space in the path", changed(path="/a b"), 400),
        ("a fragment", changed(path="/a#b"), 400),
        ("an overlong path", changed(path="/" + "a" * 20000), 414),
        ("an unknown method", changed(method="BREW"), 501),
        ("TRACE", changed(method="TRACE"), 501),
        ("a declared body that does not come", [*GOOD, ("content-length", "9999999")], 400),
        ("a bad content-length", [*GOOD, ("content-length", "+5")], 400),
        ("many fields", [*GOOD, *[(f"x-{n}", "y") for n in range(300)]], 431),
        ("transfer-encoding", [*GOOD, ("transfer-encoding", "chunked")], 400),
        ("connection", [*GOOD, ("connection", "close")], 400),
        ("an upper-case name", [*GOOD, ("X-Upper", "x")], 400),
        ("a line break in a value", [*GOOD, ("x-a", "b\r\nhost: c")], 400),
    ],
)
async def test_malformed_requests_never_reach_the_app(
    authority: Authority, name: str, headers: list[tuple[str, str]], status: int
) -> None:
    app = Echo()
    limits = DoorLimits(max_body=1 << 20)
    async with serving(app, limits, tls=authority.tls(http2=True)) as door:
        client = await open_h2(door, authority)
        got, _, _, complete = await client.read(client.ask(headers))
        # What the h2 library refuses by itself ends as a protocol error of the connection.
        assert got == status or (got, complete) == (0, False), name
        assert not app.calls
        client.writer.close()


async def test_a_body_beyond_the_limit_is_a_413_and_a_disconnect(authority: Authority) -> None:
    app = Echo()
    async with serving(app, DoorLimits(max_body=1000), tls=authority.tls(http2=True)) as door:
        client = await open_h2(door, authority)
        stream = client.ask(GOOD, b"x" * 600, b"x" * 600, end=False)
        status, _, _, _ = await client.read(stream)
        assert status == 413
        assert app.calls[0].left and not app.calls[0].complete
        client.writer.close()


async def test_a_reset_stream_reaches_the_app_as_a_disconnect(authority: Authority) -> None:
    app = Echo()
    async with serving(app, tls=authority.tls(http2=True)) as door:
        client = await open_h2(door, authority)
        stream = client.ask(GOOD, b"part", end=False)
        await until(lambda: app.calls and app.calls[0].body)
        client.h2.reset_stream(stream)
        client.flush()
        async with asyncio.timeout(BOUND):
            await app.over.wait()
        assert app.calls[0].left
        client.writer.close()


async def test_drain_ends_idle_connections(authority: Authority) -> None:
    async with serving(Echo(), tls=authority.tls(http2=True)) as door:
        client = await open_h2(door, authority)
        await client.read(client.ask(GOOD, b"x"))
        door.stop_accepting()
        assert await door.drain(BOUND)
        client.writer.close()


async def test_abort_all_cancels_the_app(authority: Authority) -> None:
    cancelled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async with serving(app, tls=authority.tls(http2=True)) as door:
        client = await open_h2(door, authority)
        client.ask(GOOD, b"x")
        await until(lambda: door.in_flight)
        await asyncio.sleep(0.01)
        door.abort_all()
        async with asyncio.timeout(BOUND):
            await cancelled.wait()
        client.writer.close()
