"""The door's connection without a socket, and h11's reading of the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import h11

from muxproxy.doors import DoorLimits
from muxproxy.doors.connection import _PIPELINE, Connection
from muxproxy.doors.state import DoorState

# Small, so that a fuzzer comes to them.
LIMITS = DoorLimits(max_head=700, max_target=120, max_fields=12, max_body=400, read_ahead=128)
HEAD = [(b"content-length", b"1")]
_TURNS = 400  # of the loop, after which a call counts as hanging


@dataclass(frozen=True)
class Request:
    """What one request was taken for. `target` as it stood, or a tuple of an absolute-form's."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass
class Told:
    """What a connection came to: requests that were complete, statuses, codes of refusals."""

    requests: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    begun: int = 0  # calls of the app, complete or not


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.paused = self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def connect(pieces: Iterable[bytes], limits: DoorLimits = LIMITS) -> Told:
    """Feeds `pieces` as reads of one connection, then its end."""
    told = Told()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.begun += 1
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            if not event["more_body"]:
                break
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = scope["raw_path"] + query
        told.requests.append(Request(scope["method"], target, tuple(scope["headers"]), body))
        await send({"type": "http.response.start", "status": 200, "headers": HEAD})
        await send({"type": "http.response.body", "body": b"x"})

    state = DoorState(app, limits, asyncio.get_running_loop())
    wire, connection = Wire(), Connection(state)
    connection.connection_made(wire)
    for piece in pieces:
        await _settled(state, wire)
        if wire.closed:
            break
        connection.data_received(piece)
        held = connection._splice.held if connection._splice is not None else 0
        assert len(connection._buffer) <= max(limits.max_head, _PIPELINE) + len(piece) + 3
        assert held <= limits.read_ahead + len(piece)
    await _settled(state, wire)
    connection.eof_received()
    connection.connection_lost(None)
    for _ in range(_TURNS):
        if not state.running:
            break
        await asyncio.sleep(0)
    assert not state.running, "a call of the app hangs"
    assert not state.peers
    told.refused = dict(state.stats.refused)
    told.statuses = _statuses(bytes(wire.written), [r.method for r in told.requests])
    return told


async def _settled(state: DoorState, wire: Wire) -> None:
    """Until the app has done what it can."""
    before: tuple[int, int] = (-1, -1)
    for _ in range(_TURNS):
        if not state.running and not wire.paused:
            return
        for _ in range(4):
            await asyncio.sleep(0)
        now = (len(state.running), len(wire.written))
        if now == before and not wire.paused:
            return
        before = now
    assert not wire.paused, "reading was never taken up again"


def _statuses(written: bytes, methods: list[str]) -> list[int]:
    """Of the responses, interim ones left out. Strict: what is no response fails."""
    found: list[int] = []
    while written:
        client = h11.Connection(h11.CLIENT)
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(written)
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA and client.their_state is h11.SEND_RESPONSE:
                return found  # nothing but 100 Continue: the rest of the request never came
            assert isinstance(event, h11.Response | h11.Data | h11.InformationalResponse), event
            if isinstance(event, h11.Response):
                found.append(event.status_code)
        written = client.trailing_data[0]
    return found


def second_opinion(data: bytes, requests: list[Request]) -> None:
    """What the door took for requests, h11 takes for the same ones. Where h11 differs:

    - empty lines before a request line (RFC 9112 2.2: SHOULD be ignored)
    - blanks before a chunk extension's semicolon (RFC 9112 7.1.1: BWS), and after it
    - the absolute form dictates Host (RFC 9112 3.2.2); h11 leaves that to its user
    - framing fields in trailers (RFC 9110 6.5.1: not to be merged), which we throw away
    - it writes a transfer coding in lower case
    """
    for request in requests:
        while data.startswith(b"\r\n"):
            data = data[2:]
        server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        server.receive_data(data)
        head, body = None, b""
        try:
            while not isinstance(event := server.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    raise AssertionError((event, request))
        except h11.RemoteProtocolError as error:
            chunked = any(name == b"transfer-encoding" for name, _ in request.headers)
            lenient = ("chunk" in str(error) and b";" in data) or in_trailers(error)
            assert chunked and lenient, (str(error), request)
            return
        assert head is not None
        theirs = [(name.lower(), value) for name, value in head.headers]
        ours = [(n, v.lower() if n == b"transfer-encoding" else v) for n, v in request.headers]
        target = bytes(head.target)
        if b"://" in target and not target.startswith(b"/"):
            theirs = [pair for pair in theirs if pair[0] != b"host"]
            ours = [pair for pair in ours if pair[0] != b"host"]
        else:
            # A bare "?" is no query to ASGI.
            assert target.removesuffix(b"?") == request.target.removesuffix(b"?")
        found = (head.method.decode(), theirs, body)
        assert found == (request.method, ours, request.body), (found, request)
        data = server.trailing_data[0]


def in_trailers(error: h11.RemoteProtocolError) -> bool:
    """What h11 says of fields that frame, wherever they stand."""
    return "Transfer-Encoding" in str(error) or "Content-Length" in str(error)


def cuts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
