"""One request and its response, as the app sees them: ASGI's receive and send, and the splice.

The splice (`scope["extensions"]["muxproxy.splice"]`) is the synchronous way to answer, for code
that runs inside another protocol's `data_received`. Both ways write through the same few methods.

    start -> (write | flush)* -> end        or abort at any time

After the client left (`gone`), or after abort, everything is ignored silently: whoever pumps need
not look before each chunk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from muxproxy.doors.refusals import STATUS_LINES, error_body
from muxproxy.doors.state import Carrier, DoorState, Message

log = logging.getLogger("muxproxy.door")

_FIELD = b": ".join
_HOP = (b"connection", b"transfer-encoding", b"keep-alive")

# Where a response stands; from _CHUNKED to _DISCARD the head is on the wire and the mode says
# how body bytes are framed.
_NEW, _HEADED, _CHUNKED, _LENGTH, _RAW, _DISCARD, _ENDED, _BROKEN = range(8)


class Splice:
    """See the module. Made by the connection; one per request."""

    __slots__ = (
        "_body",
        "_carrier",
        "_complete",
        "_expect",
        "_framing",
        "_gone",
        "_head",
        "_head_only",
        "_keep",
        "_left",
        "_minor",
        "_mode",
        "_more",
        "_out",
        "_pause",
        "_resume",
        "_state",
        "_told",
        "_waiters",
        "announced_last",
        "gone",
        "held",
        "task",
    )

    def __init__(
        self,
        carrier: Carrier,
        state: DoorState,
        minor: int,
        head_only: bool,
        keep_alive: bool,
        expect: bool,
    ) -> None:
        self._carrier = carrier
        self._state = state
        self._minor = minor
        self._head_only = head_only
        self._keep = keep_alive
        self.announced_last = not keep_alive  # by the client, of this request
        self._expect = expect
        self._out = carrier.transport.write
        self._mode = self._framing = _NEW
        self._left = 0
        self._head = self._body = b""
        self._more: list[bytes] | None = None  # body bytes behind _body
        self._complete = self._told = False  # the request body: all here; all told to the app
        self._waiters: list[asyncio.Future[None]] | None = None
        self._pause: Callable[[], object] | None = None
        self._resume: Callable[[], object] | None = None
        self._gone: Callable[[], object] | None = None
        self.gone = False
        self.held = 0  # request body bytes the app has not taken
        self.task: asyncio.Task[None] | None = None

    # The response

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Queues the head. Raises ValueError for what must not go on the wire."""
        if self._mode != _NEW:
            if self._mode == _BROKEN:
                return
            raise RuntimeError("the response has been started already")
        count = len(headers)
        block = b"\r\n".join([STATUS_LINES[status], *map(_FIELD, headers)])
        if block.count(b"\n") != count or block.count(b"\r") != count:
            raise ValueError("a line break in a response header")
        lower = block.lower()
        at = lower.find(b"\r\ncontent-length:")
        # `find`, not `in`: that raises and catches an error before it looks for bytes.
        if lower.find(b"\r\nconnection:") >= 0 or lower.find(b"\r\ntransfer-encoding:") >= 0:
            return self._restart(status, headers, _HOP)
        if at >= 0:
            if status == 204:
                return self._restart(status, headers, (b"content-length",))
            value = lower[at + 17 :].partition(b"\r\n")[0].strip(b" \t")
            if not value.isdigit() or lower.find(b"\r\ncontent-length:", at + 17) >= 0:
                raise ValueError("a malformed or duplicate content-length")
            self._left = int(value)
            framing = _LENGTH
        else:
            framing = _CHUNKED if self._minor else _RAW
        if self._head_only or status in (204, 304):
            framing = _DISCARD
        # What the request still has to say cannot be told from the next request any more.
        keep = self._keep = (
            self._keep and self._complete and framing != _RAW and not self._state.draining
        )
        if framing == _CHUNKED:
            tail = b"\r\ntransfer-encoding: chunked" + (
                b"\r\n\r\n" if keep else b"\r\nconnection: close\r\n\r\n"
            )
        elif not keep:
            tail = b"\r\nconnection: close\r\n\r\n"
        else:
            tail = b"\r\n\r\n" if self._minor else b"\r\nconnection: keep-alive\r\n\r\n"
        date = self._state.date if lower.find(b"\r\ndate:") < 0 else b""
        self._head = block + date + tail
        self._framing = framing
        self._mode = _HEADED

    def _restart(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], drop: tuple[bytes, ...]
    ) -> None:
        """Fields that are ours to set are taken out; the wish to close is kept."""
        for name, value in headers:
            if name.lower() == b"connection" and b"close" in value.lower():
                self._keep = False
        self.start(status, [pair for pair in headers if pair[0].lower() not in drop])

    def write(self, data: bytes) -> None:
        """Body bytes, framed and handed to the socket at once."""
        if self._mode == _CHUNKED:
            if data:
                self._out(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        mode = self._mode
        head = b""
        if mode == _HEADED:
            head, self._head = self._head, b""
            mode = self._mode = self._framing
        if mode == _CHUNKED:
            self._out(b"%b%x\r\n%b\r\n" % (head, len(data), data) if data else head)
        elif mode == _LENGTH:
            self._left -= len(data)
            if self._left < 0:
                log.error("a response body longer than its content-length")
                self.abort()
            elif head or data:
                self._out(head + data if head else data)
        elif mode == _RAW:
            self._out(head + data)
        elif mode == _DISCARD:
            if head:
                self._out(head)
        elif mode == _NEW:
            raise RuntimeError("the response has not been started")

    def flush(self) -> None:
        """Writes a queued head now."""
        if self._mode == _HEADED:
            self._write(b"")

    def end(self) -> None:
        """The body is complete. A body shorter than its content-length breaks the connection."""
        mode = self._mode
        if mode == _CHUNKED:
            self._out(b"0\r\n\r\n")
        elif mode >= _ENDED:
            return
        elif mode == _NEW:
            raise RuntimeError("the response has not been started")
        else:
            if mode == _HEADED:
                mode = self._framing
                self._out(self._head + b"0\r\n\r\n" if mode == _CHUNKED else self._head)
            if mode == _LENGTH and self._left:
                log.error("a response body shorter than its content-length")
                self.abort()
                return
        self._mode = _ENDED
        self._pause = self._resume = self._gone = None
        if self._waiters:
            self._wake()
        self._carrier.response_ended(not self._keep)

    def abort(self) -> None:
        """Breaks the connection without a terminator: the client must see a broken body."""
        mode = self._mode
        if mode >= _ENDED:
            return
        self._mode = _BROKEN
        self._pause = self._resume = self._gone = None
        if self._waiters:
            self._wake()
        self._carrier.break_off(mode == _RAW)

    def take_over(self, head: bytes) -> tuple[asyncio.Transport, bytes]:
        """Answers with `head` (a 101), and gives the connection away: its transport, paused, and
        what the client sent behind its request. Raises ConnectionError where it has left."""
        if self._mode != _NEW:
            raise ConnectionResetError("the client left")
        self._mode = _ENDED
        self._pause = self._resume = self._gone = None
        self._out(head)
        return self._carrier.transport, self._carrier.hand_over()

    def watch(
        self,
        pause: Callable[[], object],
        resume: Callable[[], object],
        gone: Callable[[], object],
    ) -> None:
        """Tells of the client's write buffer (full, drained) and of its leaving."""
        if self.gone:
            gone()
            return
        self._pause, self._resume, self._gone = pause, resume, gone
        if self._carrier.write_paused:
            pause()

    @property
    def buffered(self) -> int:
        """Response bytes the client has not taken yet."""
        return 0 if self._mode >= _ENDED else self._carrier.transport.get_write_buffer_size()

    @property
    def started(self) -> bool:
        """Bytes of the response have been written."""
        return self._mode > _HEADED

    # Called by the connection

    def push(self, data: bytes, last: bool) -> None:
        """Request body bytes."""
        if not self._body:
            self._body = data
        elif self._more is None:
            self._more = [data]
        else:
            self._more.append(data)
        self.held += len(data)
        self._complete = last
        if self._waiters:
            self._wake()

    def lost(self) -> None:
        """The client left, or its request turned out to be broken."""
        self.gone = True
        self._mode = _BROKEN
        self._body, self._more = b"", None
        callback, self._gone = self._gone, None
        self._pause = self._resume = None
        if self._waiters:
            self._wake()
        if callback is not None:
            callback()

    def write_full(self) -> None:
        if self._pause is not None:
            self._pause()

    def write_drained(self) -> None:
        if self._waiters:
            self._wake()
        if self._resume is not None:
            self._resume()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _wait(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._state.loop.create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        return waiter

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    # ASGI

    async def run(self, scope: dict[str, Any]) -> None:
        """Calls the app and sees to it that the client gets an end, or sees that there is none."""
        try:
            await self._state.app(scope, self.receive, self.send)
            if self._mode < _ENDED:
                log.error("the app returned without completing its response")
                self._fail()
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception:
            log.exception("the app failed")
            self._fail()
        finally:
            self.task = None
            self._state.running.discard(self)
            if self._state.draining:
                self._state.left()

    def _fail(self) -> None:
        if self._mode > _HEADED:
            self.abort()
            return
        body = error_body("internal_error", "the proxy failed on this request", "server_error")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        self._mode = _NEW
        self.start(500, headers)
        self.write(body)
        self.end()

    async def receive(self) -> Message:
        """http.request with all that is here; http.disconnect once the client is gone or the
        response is over."""
        while True:
            if self._mode >= _ENDED:
                return {"type": "http.disconnect"}
            if not self._told:
                if self._complete or self._body:
                    return self._take()
                if self._expect:
                    self._expect = False
                    if self._mode <= _HEADED:
                        self._out(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self._wait()

    def whole_body(self) -> bytes | None:
        """The request's body, where all of it has come and none was taken; else `receive` it."""
        if not self._complete or self._told or self._more is not None or self._mode >= _ENDED:
            return None
        body, self._body = self._body, b""
        self.held = 0
        self._expect = False
        self._told = True
        return body

    def _take(self) -> Message:
        body = self._body
        if self._more is not None:
            body = b"".join([body, *self._more])
            self._more = None
        self._body = b""
        self.held = 0
        self._expect = False
        last = self._told = self._complete
        if not last:
            self._carrier.body_taken()
        return {"type": "http.request", "body": body, "more_body": not last}

    async def send(self, message: Message) -> None:
        """http.response.start and http.response.body; waits while the client's buffer is full."""
        kind = message["type"]
        if kind == "http.response.start":
            self.start(message["status"], list(message.get("headers", ())))
        elif kind == "http.response.body":
            data = message.get("body", b"")
            more = message.get("more_body", False)
            if data or more:
                self.write(data)
            if not more:
                self.end()
            while self._carrier.write_paused and self._mode < _ENDED:
                await self._wait()
        else:
            raise ValueError(f"an unexpected message: {kind}")
