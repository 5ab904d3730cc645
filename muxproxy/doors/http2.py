"""HTTP/2 behind our TLS listener: connections that negotiated h2 are handed to hypercorn.

hypercorn is imported when the first listener offers h2, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING, Any

from muxproxy.doors.guard import guarded
from muxproxy.doors.scope import Inside
from muxproxy.doors.state import App, DoorState

if TYPE_CHECKING:
    from muxproxy.doors.http2_protocol import Http2Server

log = logging.getLogger("muxproxy.door")

_READ_AHEAD = 256 << 10


class Http2:
    """hypercorn's configuration and shutdown signal for one door."""

    def __init__(self, state: DoorState) -> None:
        from hypercorn.asyncio.worker_context import WorkerContext  # noqa: PLC0415

        from muxproxy.doors.http2_protocol import settings  # noqa: PLC0415

        limits = state.limits
        self.state = state
        self.config = settings(limits.max_head, math.ceil(limits.keep_alive), log)
        self.context = WorkerContext(None)
        self.app = guarded(state.app, limits)
        self.serving: set[asyncio.Task[None]] = set()

    def adopt(
        self, transport: asyncio.Transport, inside: Inside | None = None, early: bytes = b""
    ) -> None:
        """Takes over a transport, and what has been read from it."""
        loop, limits = self.state.loop, self.state.limits
        if len(self.state.peers) >= limits.max_connections:
            self.state.refused("overloaded")
            transport.abort()
            return
        reader = asyncio.StreamReader(limit=_READ_AHEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        if early:
            protocol.data_received(early)
        peer = _Http2Peer(self.state, self.app, transport, inside)
        self.state.peers.add(peer)
        task = loop.create_task(self._serve(peer, reader, writer))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    async def _serve(
        self, peer: _Http2Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from muxproxy.doors.http2_protocol import Http2Server  # noqa: PLC0415

        server = peer.server = Http2Server(peer, self.config, self.context, reader, writer)
        try:
            await server
        except Exception:
            # hypercorn lets a peer's broken frames end as exceptions of many kinds.
            log.debug("an HTTP/2 connection broke", exc_info=True)
        finally:
            peer.abort()
            self.state.peers.discard(peer)
            self.state.left()

    async def drain(self) -> None:
        """Idle connections are closed, the others after their last stream."""
        await self.context.terminated.set()


def of_door(state: DoorState) -> Http2:
    """The door's own; made when it is first wanted."""
    if state.http2 is None:
        state.http2 = Http2(state)
    return state.http2


class _Http2Call:
    """One call of the app, among those the door keeps account of."""

    __slots__ = ("peer", "task")

    def __init__(self, peer: _Http2Peer) -> None:
        self.peer = peer
        self.task = asyncio.current_task()

    def cancel(self) -> None:
        """By way of the connection: a call cancelled while its stream is open would have
        hypercorn wait for ever for its own, cancelled, sender."""
        self.peer.abort()


class _Http2Peer:
    """An HTTP/2 connection in the door's registries."""

    __slots__ = (
        "_pending",
        "_stalled",
        "aborted",
        "app",
        "calls",
        "deadline",
        "inside",
        "server",
        "state",
        "transport",
    )

    def __init__(
        self, state: DoorState, app: App, transport: asyncio.Transport, inside: Inside | None
    ) -> None:
        self.state = state
        self.app = app
        self.transport = transport
        self.inside = inside
        self.deadline = state.clock
        self.aborted = False
        self.calls: set[_Http2Call] = set()
        self.server: Http2Server | None = None
        self._pending = 0  # bytes the transport held at the last look
        self._stalled = math.inf  # since when that has not become less

    @property
    def live(self) -> int:
        """Calls of the app under way, those for streams that are gone among them."""
        return len(self.calls)

    async def call(self, scope: Any, receive: Any, send: Any) -> None:
        """The app, counted."""
        call = _Http2Call(self)
        self.calls.add(call)
        self.state.running.add(call)
        self.state.stats.requests += 1
        if self.inside is not None:
            scope["headers"] = self.inside.enter(list(scope["headers"]))
            scope.setdefault("extensions", {})["muxproxy.authority"] = self.inside.authority
        try:
            await self.app(scope, receive, send)
        finally:
            self.calls.discard(call)
            self.state.running.discard(call)
            self.state.left()

    def stopped(self) -> None:
        """The connection is over, and the app has been told."""
        if self.aborted:
            for call in list(self.calls):
                if call.task is not None:
                    call.task.cancel()

    def expired(self) -> None:
        """hypercorn keeps the time of idle connections; we that of the others."""
        state, limits = self.state, self.state.limits
        shortest = min(limits.send_timeout, limits.body_timeout)
        self.deadline = state.clock + max(state.interval, min(1.0, shortest / 4))
        pending = self.transport.get_write_buffer_size()
        if not pending or pending < self._pending:
            self._stalled = state.clock
        elif self._stalled + limits.send_timeout < state.clock:
            state.refused("send_timeout")
            self.abort()
        self._pending = pending
        if self.server is not None and self.server.h2 is not None:
            self.server.h2.look()

    def close_if_idle(self) -> None:
        """See Http2.drain."""

    def abort(self) -> None:
        self.aborted = True
        with contextlib.suppress(RuntimeError):
            self.transport.abort()
