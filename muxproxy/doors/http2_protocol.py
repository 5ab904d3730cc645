"""hypercorn's HTTP/2, and what it leaves open to a hostile or merely odd peer.

Imports hypercorn: to be imported where a listener speaks h2, not before. What is closed here:

    streams opened and reset at once (CVE-2023-44487), which its bound on open streams does not see
    floods of frames that carry nothing, and frames that claim more than they may
    its buffers: one that the client's window stops lets the app go on without bound
    responses nobody takes, bodies that do not come (both would hold a request for ever)
    data behind an early answer, targets outside ASCII, CONNECT without a path: each broke the
    connection and every other stream on it
    priorities (RFC 9113 5.3.2 deprecates them): a tree that strangers may grow
    the end of a connection at its thousandth request, with the requests in flight unanswered
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PriorityUpdated,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, StreamClosed
from hypercorn.protocol.h2 import BUFFER_LOW_WATER, H2Protocol, StreamBuffer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from muxproxy.doors.bodies import Paced
from muxproxy.doors.head import METHODS
from muxproxy.doors.state import DoorState

# A stream that its client resets sooner than that, unanswered, is hasty. An editor that completes
# while one types resets a few a second; an attack thousands.
_HASTY = 1.0  # seconds
_MAX_HASTY = 200  # at once, and
_HASTY_RATE = 20.0  # a second for long


# Frames that are neither a request nor its body. Each DATA frame we send may be answered by two.
_MAX_IDLE = 2000  # at once, and
_IDLE_RATE = 20.0  # a second for long


class Calls(Protocol):
    """Who runs the app for a connection."""

    state: DoorState

    @property
    def live(self) -> int: ...
    async def call(self, scope: Any, receive: Any, send: Any) -> None: ...
    def stopped(self) -> None: ...
    def abort(self) -> None: ...


def settings(max_head: int, keep_alive: int, log: Any) -> Config:
    """hypercorn's configuration, in bytes and seconds."""
    config = Config()
    config.keep_alive_timeout = keep_alive
    config.keep_alive_max_requests = 1 << 62
    config.h2_max_header_list_size = max_head
    config.include_server_header = False
    config.errorlog = log
    return config


class Http2Server(TCPServer):
    """One connection that speaks h2 from its first byte."""

    def __init__(
        self,
        calls: Calls,
        config: Config,
        context: WorkerContext,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        app, loop = ASGIWrapper(calls.call), calls.state.loop
        super().__init__(app, loop, config, context, {}, reader, writer)
        self._calls = calls
        self._over = False
        self.h2: Http2Protocol | None = None

    async def run(self) -> None:
        """Serves until the connection is over. Raises what a peer's broken frames cause."""
        sock = self.writer.get_extra_info("socket")
        try:
            async with TaskGroup(self.loop) as group:
                self._task_group = group
                self.h2 = self.protocol = Http2Protocol(  # type: ignore[assignment]
                    self.app,
                    self.config,
                    self.context,
                    group,
                    ConnectionState({}),
                    self.writer.get_extra_info("ssl_object") is not None,
                    parse_socket_addr(sock.family, sock.getpeername()),
                    parse_socket_addr(sock.family, sock.getsockname()),
                    self.protocol_send,
                )
                self.h2.calls = self._calls
                await self.h2.initiate()
                await self.idle_task.restart(group, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass
        finally:
            await self._close()

    async def _read_data(self) -> None:
        await super()._read_data()
        # Its streams are closed now, and the app has been told of the disconnect.
        self._calls.stopped()
        # hypercorn would keep a connection whose client left until its idle time is over.
        self._over = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Any) -> None:
        if not (self._over and isinstance(event, Updated)):
            await super().protocol_send(event)


class Http2Protocol(H2Protocol):
    """See the module."""

    calls: Calls

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: self.config.h2_max_concurrent_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: self.config.h2_max_header_list_size,
            },
        )
        self._began: dict[int, float] = {}  # when the open streams did
        self._bodies: dict[int, tuple[Paced, float]] = {}  # unfinished uploads, and their deadlines
        self._moved: dict[int, float] = {}  # when a waiting response last got rid of a byte
        self._early: set[int] = set()  # answered before their body was complete
        self._hasty = self._hasty_at = 0.0
        self._broken = False
        self._idle, self._idle_at = float(_MAX_IDLE), 0.0
        self._frames = _Frames(self.config.h2_max_inbound_frame_size)

    # From the client

    async def handle(self, event: Any) -> None:
        if self._broken and isinstance(event, RawData):
            return
        if isinstance(event, RawData) and (fault := self._fault(event.data)) is not None:
            await self._break_off(fault)
            return
        await super().handle(event)
        if isinstance(event, Closed):
            # Nobody sends any more: whoever waits for that would wait for ever.
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    def _fault(self, data: bytes) -> ErrorCodes | None:
        """What h2 would find out too late: it collects a frame before it looks at its length."""
        fit, idle = self._frames.read(data)
        if not fit:
            return ErrorCodes.FRAME_SIZE_ERROR
        now = self.calls.state.clock
        more = (now - self._idle_at) * _IDLE_RATE
        self._idle, self._idle_at = min(_MAX_IDLE, self._idle + more) - idle, now
        return ErrorCodes.ENHANCE_YOUR_CALM if self._idle < 0 else None

    async def _break_off(self, code: ErrorCodes) -> None:
        self._broken = True
        state = self.calls.state
        state.refused("overloaded" if code == ErrorCodes.ENHANCE_YOUR_CALM else "invalid_request")
        state.loop.call_later(state.limits.linger, self.calls.abort)
        with suppress(ProtocolError):
            self.connection.close_connection(code)
        await self._flush()
        await self.send(Closed())

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                await self._request(event)
            elif isinstance(event, DataReceived):
                await self._data(event)
            elif isinstance(event, StreamReset):
                if await self._reset(event):
                    return
            elif not isinstance(event, PriorityUpdated):
                if isinstance(event, StreamEnded):
                    self._bodies.pop(event.stream_id, None)
                await super()._handle_events([event])
        await self._flush()

    async def _request(self, event: RequestReceived) -> None:
        stream = event.stream_id
        if self.calls.live >= self.config.h2_max_concurrent_streams:
            with suppress(ProtocolError):  # its client may have done so
                self.connection.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        event.headers = _presentable(event.headers, event.stream_ended is not None)
        now = self._began[stream] = self.calls.state.clock
        if event.stream_ended is None:
            pace = Paced()
            self._bodies[stream] = pace, self._until(pace, now, 0)
        await super()._handle_events([event])
        await asyncio.sleep(0)  # the call begins, and is counted

    async def _create_stream(self, request: RequestReceived) -> None:
        await super()._create_stream(request)
        self.stream_buffers[request.stream_id] = _Buffer(self.context.event_class)

    async def _data(self, event: DataReceived) -> None:
        stream, size = event.stream_id, event.flow_controlled_length
        open_stream = self.streams.get(stream)
        if open_stream is not None:
            before = self.calls.state.clock
            await open_stream.handle(Body(stream_id=stream, data=event.data))
            if stream in self._bodies:
                pace, now = self._bodies[stream][0], self.calls.state.clock
                if now > before:
                    pace.paused()  # it was the app that kept the client waiting
                self._bodies[stream] = pace, self._until(pace, now, len(event.data))
        with suppress(ProtocolError):  # the stream may be over meanwhile
            self.connection.acknowledge_received_data(size, stream)

    def _until(self, pace: Paced, now: float, more: int) -> float:
        limits = self.calls.state.limits
        return pace.until(now, more, limits.body_timeout, limits.min_body_rate)

    async def _reset(self, event: StreamReset) -> bool:
        """Whether that was one too many."""
        now, began = self.calls.state.clock, self._began.get(event.stream_id)
        if began is not None and now - began < _HASTY:
            faded = (now - self._hasty_at) * _HASTY_RATE
            self._hasty, self._hasty_at = max(0.0, self._hasty - faded) + 1, now
        await super()._handle_events([event])
        if self._hasty <= _MAX_HASTY:
            return False
        await self._break_off(ErrorCodes.ENHANCE_YOUR_CALM)
        return True

    # To the client

    async def stream_send(self, event: Any) -> None:
        stream = event.stream_id
        over = isinstance(event, StreamClosed)
        unfinished = over and self._bodies.pop(stream, None) is not None
        if isinstance(event, Body) and stream not in self._moved:
            self._moved[stream] = self.calls.state.clock
        buffer = self.stream_buffers.get(stream)
        if over and stream in self.streams and buffer is not None and not buffer._complete:
            await self._cut_off(stream, buffer)
        await super().stream_send(event)
        if unfinished:
            # RFC 9113 8.1: the rest of the request is not wanted.
            self._early.add(stream)
            await self._end_early(stream)

    async def _cut_off(self, stream: int, buffer: StreamBuffer) -> None:
        """The app failed in the middle of its answer: what it said, and then no proper end."""
        if buffer.buffer:
            self.priority.unblock(stream)
            await self.has_data.set()
            await buffer.drain()
        with suppress(ProtocolError):
            self.connection.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        await self._flush()
        await self._window_updated(stream)

    async def _end_early(self, stream: int) -> None:
        if stream in self._early and stream not in self.stream_buffers:
            self._early.discard(stream)
            with suppress(ProtocolError):
                self.connection.reset_stream(stream, ErrorCodes.NO_ERROR)
            await self._flush()

    async def _send_data(self, stream_id: int) -> None:
        buffer = self.stream_buffers.get(stream_id)
        held = 0 if buffer is None else len(buffer.buffer)
        await super()._send_data(stream_id)
        buffer = self.stream_buffers.get(stream_id)
        self._idle += 3
        if buffer is None or not buffer.buffer:
            self._moved.pop(stream_id, None)
        elif len(buffer.buffer) < held:
            self._moved[stream_id] = self.calls.state.clock
        if stream_id in self._early:
            await self._end_early(stream_id)

    # Ends

    async def _close_stream(self, stream_id: int) -> None:
        self._began.pop(stream_id, None)
        self._bodies.pop(stream_id, None)
        await super()._close_stream(stream_id)

    def look(self) -> None:
        """The sweep: gives up streams whose client neither sends nor takes what is due."""
        state = self.calls.state
        late = [s for s, (_, deadline) in self._bodies.items() if deadline < state.clock]
        limit = state.clock - state.limits.send_timeout
        stuck = [s for s, moved in self._moved.items() if moved < limit]
        for code, streams in (("request_timeout", late), ("send_timeout", stuck)):
            for stream in streams:
                self._bodies.pop(stream, None)
                self._moved.pop(stream, None)
                state.refused(code)
                self.task_group.spawn(self._give_up, stream)

    async def _give_up(self, stream: int) -> None:
        with suppress(ProtocolError):
            self.connection.reset_stream(stream, ErrorCodes.CANCEL)
        await self._flush()
        await self._window_updated(stream)  # the sender finds it closed
        await self._close_stream(stream)


class _Buffer(StreamBuffer):
    """Lets the app go on when what waits has become little; hypercorn's does when little went."""

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class _Frames:
    """Reads lengths and kinds of frames, and nothing else, from a connection's bytes."""

    __slots__ = ("_head", "_limit", "_skip")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._skip = 24  # the preface
        self._head = b""

    def read(self, data: bytes) -> tuple[bool, int]:
        """Whether no frame that begins in `data` claims more than the limit, and how many of
        those that do are neither HEADERS nor DATA with anything in it."""
        at, idle = self._skip, 0
        if self._head:
            data, at = self._head + data, 0
        size = len(data)
        while at + 9 <= size:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > self._limit:
                return False, idle
            if data[at + 3] != 1 and (data[at + 3] != 0 or not length):
                idle += 1
            at += 9 + length
        self._head = data[at:] if at < size else b""
        self._skip = max(at - size, 0)
        return True, idle


def _presentable(headers: Any, bodiless: bool) -> list[tuple[bytes, bytes]]:
    """What hypercorn can make a scope of. It knows no method but in upper case, wants a path even
    of CONNECT, and one in ASCII; what is put in their place is refused by `guard`, and so is a
    length where the request ends without a body, which h2 lets pass."""
    shown = []
    path = False
    for name, value in headers:
        if name == b":method" and (value.decode("latin-1") not in METHODS or value == b"CONNECT"):
            shown.append((name, b"-"))
        elif name == b":path":
            path = True
            shown.append((name, value if value.isascii() else b"\0"))
        elif name == b"content-length" and bodiless and value.strip(b"0"):
            shown.append((name, b"-"))
        else:
            shown.append((name, value))
    if not path:
        shown.append((b":path", b"/"))
    return shown
