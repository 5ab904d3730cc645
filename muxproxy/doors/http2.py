"""HTTP/2 behind our TLS listener: connections that negotiated h2 are handed to hypercorn.

hypercorn is imported when the first listener offers h2, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import Any

from muxproxy.doors.guard import guarded
from muxproxy.doors.state import DoorState

log = logging.getLogger("muxproxy.door")

_READ_AHEAD = 256 << 10


class Http2:
    """hypercorn's configuration and shutdown signal for one door."""

    def __init__(self, state: DoorState) -> None:
        from hypercorn.app_wrappers import ASGIWrapper  # noqa: PLC0415
        from hypercorn.asyncio.worker_context import WorkerContext  # noqa: PLC0415
        from hypercorn.config import Config  # noqa: PLC0415

        limits = state.limits
        self.state = state
        self.config = Config()
        self.config.keep_alive_timeout = math.ceil(limits.keep_alive)
        self.config.h2_max_header_list_size = limits.max_head
        self.config.include_server_header = False
        self.config.errorlog = log
        self.context = WorkerContext(None)
        self.app = ASGIWrapper(guarded(state.app, limits))

    def adopt(self, transport: asyncio.Transport) -> None:
        """Takes over a transport on which nothing has been read yet."""
        loop = self.state.loop
        reader = asyncio.StreamReader(limit=_READ_AHEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        peer = _Http2Peer(self.state, transport)
        peer.task = loop.create_task(self._serve(peer, reader, writer))
        self.state.peers.add(peer)
        self.state.running.add(peer)

    async def _serve(
        self, peer: _Http2Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from hypercorn.asyncio.tcp_server import TCPServer  # noqa: PLC0415

        loop: Any = self.state.loop
        app: Any = self.app
        context: Any = self.context
        try:
            await TCPServer(app, loop, self.config, context, {}, reader, writer)
        except Exception:
            # hypercorn lets a peer's broken frames end as exceptions of many kinds.
            log.debug("an HTTP/2 connection broke", exc_info=True)
        finally:
            peer.abort()
            peer.task = None
            self.state.peers.discard(peer)
            self.state.running.discard(peer)
            self.state.left()

    async def drain(self) -> None:
        """Idle connections are closed, the others after their last stream."""
        await self.context.terminated.set()


class _Http2Peer:
    """An HTTP/2 connection in the door's registries."""

    __slots__ = ("deadline", "state", "task", "transport")

    def __init__(self, state: DoorState, transport: asyncio.Transport) -> None:
        self.state = state
        self.transport = transport
        self.deadline = math.inf
        self.task: asyncio.Task[None] | None = None

    def expired(self) -> None:
        """hypercorn keeps its own time."""

    def close_if_idle(self) -> None:
        """See Http2.drain."""

    def abort(self) -> None:
        with contextlib.suppress(RuntimeError):
            self.transport.abort()
