"""One HTTP/1.1 client connection: a request out, its response through llhttp, then the next.

    data_received -> parser -> Reply (head: one future; body: consumer.data(), once per read)

Nothing here awaits. A response's end is taken from its framing alone (RFC 9112 section 6.3);
whatever is not surely clean closes the connection instead of going back to the pool.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

from muxproxy.upstream.reply import Reply
from muxproxy.upstream.response import Response
from muxproxy.upstream.spec import OriginSpec, Times, UpstreamError
from muxproxy.upstream.upload import upload

# A larger body is not copied behind its head but queued as a second buffer.
_ONE_WRITE = 65536
# A pooled connection that closes this soon after the request had closed before it arrived; one
# that closes later had taken the request, and sending it again could cost twice.
STALE_NS = 2_000_000_000
_CLOCK = time.perf_counter_ns


class Pool(Protocol):
    """Where a connection lives."""

    spec: OriginSpec

    def release(self, connection: "Connection") -> None: ...
    def forget(self, connection: "Connection") -> None: ...
    def closed(self, connection: "Connection") -> None: ...
    def track(self, task: "asyncio.Task[None]") -> None: ...


class Connection(asyncio.Protocol):
    """Serves one Reply at a time; `gone` once it can serve no other."""

    __slots__ = (
        "_paused",
        "_pool",
        "_raw",
        "_stamp",
        "_unsent",
        "_uploader",
        "_used",
        "_whole",
        "blocked",
        "gone",
        "reply",
        "response",
        "transport",
    )

    transport: asyncio.Transport
    _raw: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.reply: Reply | None = None
        self.response = Response()
        self.blocked: asyncio.Future[None] | None = None  # pending while the socket is full
        self.gone = False
        self._used = False
        self._paused = False
        self._whole = True  # the request has been handed over in full
        self._uploader: asyncio.Task[None] | None = None
        self._stamp = 0  # when what is waited for began; 0: the next sweep sets it
        self._unsent = 0

    # -- the pool's side

    def attach(self, transport: asyncio.Transport, raw: asyncio.Transport) -> None:
        """Take over an open transport. `raw` is the TCP transport under TLS, else the same.

        Reading is paused on `raw`: pausing only above TLS loses what TLS holds when the peer
        closes meanwhile.
        """
        self.transport = transport
        self._raw = raw

    @property
    def usable(self) -> bool:
        """Open, as far as can be known without a look at the wire."""
        return not self.gone and not self.transport.is_closing()

    def start(
        self, reply: Reply, head: bytes, body: bytes | AsyncIterator[bytes], length: int | None
    ) -> None:
        """Write a request; `reply` gets everything that follows."""
        if self._used or reply.bodiless or reply.upgradable:
            self.response.begin(bodiless=reply.bodiless, upgradable=reply.upgradable)
        self.reply = reply
        reply.link = self
        reply.reused = self._used
        self._used = True
        if not isinstance(body, bytes):
            self._whole = False
            self.transport.write(head)
            task = asyncio.get_running_loop().create_task(upload(self, body, length))
            self._uploader = task
            self._pool.track(task)
        elif len(body) <= _ONE_WRITE:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        reply.sent_ns = self._stamp = _CLOCK()

    def sweep(self, now: int) -> None:
        """Look at every deadline; called every so often by the pool."""
        reply = self.reply
        if reply is None:
            if not self._stamp:
                self._stamp = now
            elif now - self._stamp >= self._pool.spec.idle_expiry * 1e9:
                self.drop()
            return
        times = reply.times or self._pool.spec
        if reply.deadline_ns and now >= reply.deadline_ns:
            self._timed_out("did not finish within the total time", "total")
        elif not self.response.headed:
            self._sweep_head(now, times)
        elif not self._stamp or (self._paused and reply.taken):
            self._stamp = now  # while the caller does not read, upstream is not to blame
        elif now - self._stamp >= times.idle * 1e9:
            self._timed_out(f"went silent for {times.idle:g} s amid its answer", "idle")

    def _sweep_head(self, now: int, spec: OriginSpec | Times) -> None:
        if self._uploader is not None and self.blocked is None:
            self._stamp = now  # the caller is still sending
            return
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._stamp = unsent, now
        elif unsent and now - self._stamp >= spec.idle * 1e9:
            self._timed_out(f"took no more of the request for {spec.idle:g} s", "idle")
        elif not unsent and now - self._stamp >= spec.first_byte * 1e9:
            self._timed_out(f"did not begin to answer within {spec.first_byte:g} s", "first_byte")

    def drop(self) -> None:
        """Close at once, whatever is under way; the reply is not told."""
        self.reply = None
        if self.gone:
            return
        self.gone = True
        self._stop_upload()
        self.transport.abort()
        self._pool.forget(self)

    def close(self, error: UpstreamError) -> None:
        """Close at once; an exchange under way fails with `error`."""
        self._break(error)

    # -- the reply's side

    def pause(self) -> None:
        """No more reads until resume()."""
        if not self._paused and not self._raw.is_closing():
            self._paused = True
            self._raw.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self._raw.is_closing():
            self._paused = False
            self._raw.resume_reading()

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        """Give the transport away; the pool forgets it."""
        self.reply = None
        self.gone = True
        self._pool.forget(self)
        self._pool.closed(self)
        return self.transport, self.response.leftover

    # -- the uploader's side

    def write_part(self, parts: tuple[bytes, ...]) -> None:
        """More of a streamed request body; nowhere to go when the peer is leaving."""
        if not self.transport.is_closing():
            self.transport.writelines(parts)

    def uploaded(self) -> None:
        """A streamed request body is complete."""
        self._uploader = None
        self._whole = True
        self._stamp = 0 if self.response.headed else _CLOCK()

    def upload_failed(self, error: Exception) -> None:
        """The source of a streamed body failed: upstream must not see a complete request."""
        self._uploader = None
        broken = UpstreamError("reset", "the request body broke off", sent=True)
        self._break(broken, before_head=error)

    # -- asyncio's side

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by either side."""
        if not self.gone:
            self._died()
        self.response.close()
        self._pool.closed(self)

    def eof_received(self) -> None:
        """The peer will send no more (under TLS: it said so); the transport closes itself."""
        reply = self.reply
        if reply is not None and self.response.eof():
            self.drop()
            reply.ended()
        else:
            self._died()

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.blocked = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """It has drained."""
        blocked, self.blocked = self.blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    def data_received(self, data: bytes) -> None:
        """One read."""
        reply = self.reply
        if reply is None:
            self.drop()  # nobody asked, so it must not answer the next request
            return
        response = self.response
        if response.headed:
            self._stamp = 0
            body = response.feed(data)
        else:
            body = response.feed(data)
            if response.headed:
                self._stamp = 0
                reply.began(response.status, response.reason, response.headers, _CLOCK())
                if response.status >= 300:
                    self._stop_upload()
        if body:
            consumer = reply.consumer
            if consumer is not None:
                consumer.data(body)
            else:
                reply.hold(body)
            if self.reply is not reply:
                return  # cancelled by the consumer
        if response.over:
            self._over(reply)

    # -- how an exchange ends

    def _over(self, reply: Reply) -> None:
        response = self.response
        if response.upgraded:
            self.transport.pause_reading()
            return
        if response.fault:
            host = self._pool.spec.label
            self._break(
                UpstreamError(
                    "protocol", f"{host} answered no valid HTTP: {response.fault}", sent=True
                )
            )
            return
        if (
            response.keep
            and self._whole
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()
        ):
            self.reply = None
            if self._paused:
                self.resume()
            self._stamp = 0
            self._pool.release(self)
        else:
            self.drop()
        reply.ended()

    def _died(self) -> None:
        """The peer closed when nothing, or more, was to come."""
        reply = self.reply
        if reply is None:
            self.drop()
            return
        host = self._pool.spec.label
        if self.response.headed:
            error = UpstreamError(
                "reset", f"{host} closed the connection amid its answer", sent=True
            )
        elif reply.reused and not self.response.head_bytes and _CLOCK() - reply.sent_ns < STALE_NS:
            error = UpstreamError("stale", f"{host} had closed an idle connection", sent=True)
        else:
            error = UpstreamError(
                "reset", f"{host} closed the connection without an answer", sent=True
            )
        self._break(error)

    def _timed_out(self, what: str, setting: str) -> None:
        host = self._pool.spec.label
        message = f"{host} {what}: see the provider's timeouts.{setting}"
        self._break(UpstreamError("timeout", message, sent=True))

    def _break(self, error: UpstreamError, before_head: Exception | None = None) -> None:
        reply = self.reply
        self.drop()
        if reply is not None:
            reply.failed(error, before_head)

    def _stop_upload(self) -> None:
        """No more of a streamed request body; the connection cannot serve again."""
        task = self._uploader
        if task is not None:
            self._uploader = None
            task.cancel()
