"""One client connection: heads in, requests to the app in order, refusals, deadlines.

States, and what bytes mean in them:
    HEAD     between requests, or within a head
    BODY     the request's body is coming; the app runs
    BUSY     the request is complete, its response is not; bytes are pipelined requests, held back
    CLOSING  the last response is written; bytes are read and thrown away for a moment, because
             closing a socket with unread bytes resets it, and a reset can destroy the answer
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from functools import partial
from time import perf_counter_ns
from typing import cast

from muxproxy.doors.bodies import ChunkedBody, CountedBody
from muxproxy.doors.connect import Connecting
from muxproxy.doors.head import BROKEN_START, CHUNKED, Head, too_large
from muxproxy.doors.refusals import Refused, answer, bad
from muxproxy.doors.repeats import Repeats
from muxproxy.doors.scope import Inside, ends_of, http_scope
from muxproxy.doors.sockets import has_unread, reset_on_close
from muxproxy.doors.splice import Splice
from muxproxy.doors.state import DoorState

_HEAD, _BODY, _BUSY, _CLOSING = range(4)
_PIPELINE = 64 << 10  # bytes of further requests held while one is in flight
_EMPTY_LINES = 8  # CRLFs a sloppy client may send before a request line
_AROUND = 32  # bytes of a request line beside its target, and more
_CRLF = (13, 10)


class Connection(asyncio.Protocol):
    """See the module. `inside`: the opened tunnel that it runs in."""

    __slots__ = (
        "_arrived", "_buffer", "_empty", "_ends", "_eof", "_incoming", "_inside", "_phase",
        "_read_paused", "_repeats", "_splice", "_stalled", "_state", "_tls", "deadline",
        "transport", "write_paused",
    )  # fmt: skip

    def __init__(self, state: DoorState, inside: Inside | None = None) -> None:
        self._state = state
        self._inside = inside
        self._phase = _HEAD
        self._buffer = bytearray()
        self._repeats = Repeats()
        self._splice: Splice | None = None
        self._incoming: ChunkedBody | CountedBody | None = None
        self._stalled = self._arrived = self._empty = 0
        self._eof = self._read_paused = self.write_paused = False
        self.deadline = math.inf

    # Transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are registered subclasses, asyncio's TLS ones not.
        self.transport = cast(asyncio.Transport, transport)
        state = self._state
        if state.closed:
            self._phase = _CLOSING
            self.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        if self._inside is None:
            state.stats.connections += 1
            if tls is not None and state.http2 and tls.selected_alpn_protocol() == "h2":
                state.http2.adopt(self.transport)
                return
        self._tls = tls is not None
        self._ends = ends_of(transport, self._tls, self._inside)
        self.transport.set_write_buffer_limits(high=state.limits.write_high)
        self.deadline = state.clock + state.limits.header_timeout
        state.peers.add(self)
        surplus = len(state.peers) - state.limits.max_connections
        if surplus > 0:
            self.refuse(Refused(503, "overloaded", "too many connections"))
            if surplus > 1000:
                self.abort()  # even politeness has a bound

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == _HEAD:
            if not self._buffer:
                self._arrived = perf_counter_ns()
                end = data.find(b"\r\n\r\n")
                if end > 0 and data[0] not in _CRLF:
                    self._begin(data[:end], data[end + 4 :])
                    return
            self._gather(data)
        elif phase == _BODY:
            self._body(data)
        elif phase != _CLOSING:
            self._buffer += data
            if len(self._buffer) > _PIPELINE:
                self._pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        splice = self._splice
        if splice is not None:
            # Has the client only nothing more to say? See DoorLimits.half_close.
            last = self._state.limits.half_close or splice.announced_last
            if last and self._phase == _BUSY and not self._tls:
                return True
            self._splice = None
            splice.lost()
        self._phase = _CLOSING
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.peers.discard(self)
        self._phase = _CLOSING
        self.deadline = math.inf
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.lost()
        self._state.left()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._stalled = self.transport.get_write_buffer_size()
        self.deadline = self._state.clock + self._state.limits.send_timeout
        if self._splice is not None:
            self._splice.write_full()

    def resume_writing(self) -> None:
        self.write_paused = False
        self._rearm()
        if self._splice is not None:
            self._splice.write_drained()

    # Requests

    def _gather(self, data: bytes) -> None:
        """The slow way in: a head in several pieces, behind empty lines, or pipelined (b"")."""
        buffer = self._buffer
        searched = max(len(buffer) - 3, 0) if data else 0
        if not searched and not self.write_paused:
            self.deadline = self._state.clock + self._state.limits.header_timeout
        buffer += data
        if buffer[0] in _CRLF:
            searched = 0
            while self._empty < _EMPTY_LINES and buffer.startswith(b"\r\n"):
                del buffer[:2]
                self._empty += 1
            if not buffer or buffer == b"\r":
                return
            if buffer[0] in _CRLF:
                self.refuse(bad("a request must start with its request line"))
                return
        end = buffer.find(b"\r\n\r\n", searched)
        if end >= 0:
            head = bytes(buffer[:end])
            del buffer[: end + 4]
            self._begin(head, None)
            return
        limits = self._state.limits
        if BROKEN_START.search(buffer, searched):
            self.refuse(bad("a control character or a bare CR or LF in the head"))
        elif len(buffer) > limits.max_head + 3 or (
            len(buffer) > limits.max_target + _AROUND
            and buffer.find(b"\r\n", 0, limits.max_target + _AROUND) < 0
        ):
            self.refuse(too_large(buffer, limits))

    def _begin(self, raw: bytes, rest: bytes | None) -> None:
        """`raw` is a head without its empty line, `rest` what was read behind it; None: that is
        in the buffer, which may hold many requests and is not to be copied for each of them."""
        state, limits = self._state, self._state.limits
        self._empty = 0
        try:
            if len(raw) > limits.max_head:
                raise too_large(raw, limits)
            head = self._repeats.parse(raw, state.parser)
            if head.length > limits.max_body:
                raise Refused(413, "body_too_large", "the request body is too large")
            if head.line.form == "authority":
                self._connect(head, rest or b"")
                return
        except Refused as refused:
            self.refuse(refused)
            return
        line = head.line
        splice = self._splice = Splice(
            self, state, line.minor, line.method == "HEAD", head.keep_alive, head.expect
        )
        length = head.length
        if rest is None:
            buffer = self._buffer
            size = length if 0 <= length <= len(buffer) else len(buffer)
            rest = bytes(buffer[:size])
            del buffer[:size]
        if length == len(rest):
            self._phase = _BUSY
            if not self.write_paused:
                self.deadline = math.inf
            splice.push(rest, True)
        else:
            self._phase = _BODY
            chunked = length == CHUNKED
            self._incoming = ChunkedBody(limits.max_body) if chunked else CountedBody(length)
            self._body(rest)
            if self._splice is None:  # the body broke at once: the app never hears of it
                return
        state.stats.requests += 1
        state.running.add(splice)
        scope = http_scope(head, splice, self._arrived, self._ends)
        splice.task = state.loop.create_task(splice.run(scope))

    def _body(self, data: bytes) -> None:
        splice, body = self._splice, self._incoming
        assert splice is not None and body is not None
        pieces: list[bytes] = []
        try:
            over = body.feed(data, pieces)
        except Refused as refused:
            self.refuse(refused)
            return
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if over < 0:
            if piece:
                splice.push(piece, False)
            if splice.held > self._state.limits.read_ahead:
                body.paused()
                self._pause_reading()
            self._rearm(len(data))
            return
        self._incoming = None
        self._phase = _BUSY
        self._rearm()
        if over < len(data):
            self._buffer += data[over:]
        splice.push(piece, True)

    def _rearm(self, more: int = 0) -> None:
        """Sets the deadline that the phase asks for; a client that does not read has its own."""
        if self.write_paused:
            return
        limits, phase = self._state.limits, self._phase
        if phase == _HEAD:
            self.deadline = self._state.clock + limits.keep_alive
        elif phase == _BODY and not self._read_paused:
            assert self._incoming is not None
            timeout, rate = limits.body_timeout, limits.min_body_rate
            self.deadline = self._incoming.until(self._state.clock, more, timeout, rate)
        elif phase != _CLOSING:
            self.deadline = math.inf

    def _connect(self, head: Head, rest: bytes) -> None:
        if self._inside is not None:
            raise Refused(501, "not_implemented", "CONNECT is not served within a tunnel")
        early, within = bytes(self._buffer) + rest, partial(_serve_within, self._state)
        Connecting(self._state, self.transport, head, early, within)
        self._leave()

    # Called by the splice

    def response_ended(self, close: bool) -> None:
        self._splice = None
        unread = self._phase != _BUSY or bool(self._buffer) or self._read_paused
        if close or self._phase != _BUSY:
            self._close(linger=unread)
            return
        self._phase = _HEAD
        self._rearm()
        if self._read_paused:
            self._resume_reading()
        if self._buffer:
            self._arrived = perf_counter_ns()
            self._gather(b"")
        if self._eof and self._splice is None:
            self._close(linger=False)

    def break_off(self, reset: bool) -> None:
        """`reset`: the client could take a FIN for the body's proper end, so it gets a RST."""
        self._splice = None
        if reset:
            reset_on_close(self.transport)
        self._shut(self._state.limits.linger)
        self.transport.close()

    def body_taken(self) -> None:
        if self._read_paused and self._phase == _BODY:
            self._resume_reading()
            self._rearm()

    def hand_over(self) -> bytes:
        """The connection becomes another's."""
        self._pause_reading()
        early = bytes(self._buffer)
        self._leave()
        return early

    def _leave(self) -> None:
        self._phase = _CLOSING
        self._splice = None
        self._buffer.clear()
        self.deadline = math.inf
        self._state.peers.discard(self)

    # Endings

    def refuse(self, refused: Refused) -> None:
        """Answers by itself where an answer is still possible, and closes."""
        self._state.refused(refused.code)
        splice, self._splice = self._splice, None
        if splice is not None:
            started = splice.started
            splice.lost()
            if started:
                self.break_off(False)
                return
        self.transport.write(answer(refused, self._state.date))
        self._close(linger=True)

    def _close(self, linger: bool) -> None:
        pending = self.transport.get_write_buffer_size()
        limits = self._state.limits
        self._shut(limits.send_timeout if pending > limits.write_high else limits.linger)
        self._stalled = pending
        if linger and not self._eof and self.transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()
                self._resume_reading()
                return
        self.transport.close()

    def _shut(self, seconds: float) -> None:
        self._phase = _CLOSING
        self._buffer.clear()
        self._incoming = None
        self.deadline = self._state.clock + seconds

    def expired(self) -> None:
        """The sweep found the deadline passed."""
        pending = self.transport.get_write_buffer_size()
        if pending and (self.write_paused or self._phase == _CLOSING):
            if pending < self._stalled:  # slow, but reading
                self._stalled = pending
                self.deadline = self._state.clock + self._state.limits.send_timeout
            else:
                self._state.refused("send_timeout")
                self.abort()
        elif self._phase == _CLOSING:
            self.abort()
        elif self._phase == _BODY or self._buffer:
            self.refuse(Refused(408, "request_timeout", "the request did not arrive in time"))
        else:
            self._close(linger=False)

    def close_if_idle(self) -> None:
        """Closes between requests, unless a request's bytes wait in the kernel already. A client
        that only just connected is about to send its first, and gets a moment for it."""
        if self._phase == _HEAD and not self._buffer and not has_unread(self.transport):
            if self._arrived:
                self._close(linger=False)
            else:
                self.deadline = min(self.deadline, self._state.clock + self._state.limits.linger)

    def abort(self) -> None:
        self.transport.abort()

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()


def _serve_within(
    state: DoorState, transport: asyncio.Transport, inside: Inside, early: bytes
) -> None:
    """HTTP/1.1 within an opened tunnel."""
    connection = Connection(state, inside)
    transport.set_protocol(connection)
    connection.connection_made(transport)
    if early:
        connection.data_received(early)
