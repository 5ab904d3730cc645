"""An HTTP/2 peer that writes frames as they are, and tells what came of them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from muxproxy.doors import Door
from tests.doors.harness import BOUND
from tests.doors.test_tls import Authority

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x")]
POST = [(":method", "POST"), *GET[1:]]
Fields = Iterable[tuple[str | bytes, str | bytes]]


def block(fields: Fields) -> bytes:
    """An HPACK block that leaves the dynamic table alone: blocks go in any order."""
    return Encoder().encode([(name, value, True) for name, value in fields])


def headers(stream: int, fields: Fields = GET, end: bool = False) -> bytes:
    return raw(1, 4 | end, stream, block(fields))


def get(stream: int, fields: Fields = GET) -> bytes:
    return headers(stream, fields, True)


def data(stream: int, payload: bytes = b"hello", end: bool = False) -> bytes:
    return raw(0, int(end), stream, payload)


def raw(kind: int, flags: int, stream: int, payload: bytes = b"", length: int = -1) -> bytes:
    """Any frame at all, also one whose length is a lie."""
    size = len(payload) if length < 0 else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(values: dict[int, int] | None = None) -> bytes:
    pairs = (values or {}).items()
    return raw(4, 0, 0, b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs))


@dataclass
class Outcome:
    """What the server said: per stream a status or a reset's code; the connection's code."""

    statuses: dict[int, int] = field(default_factory=dict)
    resets: dict[int, int] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    goaway: int | None = None
    closed: bool = False
    pongs: int = 0
    acks: int = 0


class Peer:
    """See the module. `seen` grows with every `read`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.seen = Outcome()
        self.credit = True  # whether data that came is acknowledged
        self._decoder = Decoder()
        self._buffer = b""

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def read(self, *streams: int) -> Outcome:
        """Until each of `streams` has an end, or the connection does; of no stream: the latter."""
        async with asyncio.timeout(BOUND):
            while not streams or not all(self._over(stream) for stream in streams):
                try:
                    got = await self.reader.read(1 << 16)
                except ConnectionError:
                    got = b""
                if not got:
                    self.seen.closed = True
                    break
                self._take(got)
        return self.seen

    def _over(self, stream: int) -> bool:
        return stream in self.seen.ended or stream in self.seen.resets

    async def pong(self) -> Outcome:
        """Until all that was sent before has been dealt with."""
        before = self.seen.pongs
        self.send(PingFrame(0, b"12345678").serialize())
        async with asyncio.timeout(BOUND):
            while self.seen.pongs == before:
                got = await self.reader.read(1 << 16)
                assert got, self.seen
                self._take(got)
        return self.seen

    def _take(self, got: bytes) -> None:
        self._buffer += got
        while len(self._buffer) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
            if len(self._buffer) < 9 + length:
                return
            frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
            self._buffer = self._buffer[9 + length :]
            self._see(frame)

    def _see(self, frame: Frame) -> None:
        seen, stream = self.seen, frame.stream_id
        if isinstance(frame, HeadersFrame):
            fields = dict(self._decoder.decode(frame.data))
            seen.statuses[stream] = int(fields[":status"])
        elif isinstance(frame, DataFrame):
            seen.bodies[stream] = seen.bodies.get(stream, b"") + frame.data
            if self.credit and frame.flow_controlled_length:
                size = frame.flow_controlled_length
                self.send(*(WindowUpdateFrame(s, size).serialize() for s in (0, stream)))
        elif isinstance(frame, RstStreamFrame):
            seen.resets[stream] = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            seen.goaway = frame.error_code
        elif isinstance(frame, PingFrame):
            seen.pongs += "ACK" in frame.flags
        elif isinstance(frame, SettingsFrame):
            seen.acks += "ACK" in frame.flags
        else:
            assert isinstance(frame, WindowUpdateFrame | ContinuationFrame)
        if "END_STREAM" in frame.flags:
            seen.ended.add(stream)


@cache
def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["h2"])
    return context


@asynccontextmanager
async def peer_of(
    door: Door, authority: Authority, opening: bytes = PREFACE + settings()
) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", door.port, ssl=_context(authority.ca_file), server_hostname="localhost"
    )
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    peer = Peer(reader, writer)
    peer.send(opening)
    try:
        yield peer
    finally:
        writer.transport.abort()
