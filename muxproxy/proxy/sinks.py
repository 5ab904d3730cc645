"""The caller's side where the server is not our door: the splice over plain ASGI.

hypercorn's `send()` never raises when the client has left (measured, 0.18), so `receive()` is
watched for `http.disconnect`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from muxproxy.headers import Headers

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Bytes queued towards the server before the upstream is paused, and when it is resumed.
HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024


class AsgiSink:
    """A relay's Sink that queues events and sends them from one task per exchange."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._queue: deque[Message | None] = deque()
        self._ready = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._pause: Callable[[], None] = _nothing
        self._resume: Callable[[], None] = _nothing
        self._gone: Callable[[], None] = _nothing
        self._paused = False
        self._watched = False
        self._body_read = False
        self.buffered = 0
        self.gone = False

    async def receive(self) -> Message:
        """The application's `receive()`, so that the watch begins when the body has been read."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_read = True
            self._watch_when_due()
        return message

    def watch(
        self, pause: Callable[[], None], resume: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        """Callbacks for a full buffer, an empty one, and a client that left."""
        self._pause, self._resume, self._gone = pause, resume, gone
        self._watched = True
        self._watch_when_due()

    def _watch_when_due(self) -> None:
        if self._watched and self._body_read and self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self.gone = True
        self._gone()

    def whole_body(self) -> bytes | None:
        """The request's body, if it is here without waiting; here it never is."""
        return None

    def start(self, status: int, headers: Headers) -> None:
        """Queue the head."""
        self._put({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> None:
        """Queue body bytes."""
        self.buffered += len(data)
        self._put({"type": "http.response.body", "body": data, "more_body": True})
        if self.buffered > HIGH_WATER and not self._paused:
            self._paused = True
            self._pause()

    def flush(self) -> None:
        """Heads are sent as they are queued."""

    def end(self) -> None:
        """The body is complete."""
        self._put({"type": "http.response.body", "body": b"", "more_body": False})
        self._put(None)

    def abort(self) -> None:
        """Stop without a last event: the server then breaks the connection."""
        self._put(None)

    def _put(self, message: Message | None) -> None:
        self._queue.append(message)
        self._ready.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            while not self._queue:
                self._ready.clear()
                await self._ready.wait()
            message = self._queue.popleft()
            if message is None:
                return
            await self._send(message)
            self.buffered -= len(message.get("body", b""))
            if self._paused and self.buffered < LOW_WATER:
                self._paused = False
                self._resume()

    async def close(self) -> None:
        """Wait until everything queued went out, then stop watching."""
        try:
            if self._writer is not None and not self.gone:
                await self._writer
        finally:
            for task in (self._writer, self._watcher):
                if task is not None:
                    task.cancel()


def _nothing() -> None:
    return None
