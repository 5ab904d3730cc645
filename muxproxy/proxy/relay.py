"""The splice: upstream bytes -> tap -> caller, with back-pressure and both kinds of ending.

Called synchronously from the upstream connection's `data_received`: no task, future, queue, lock
or log call per chunk. One future per exchange tells the road how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from muxproxy import exchange
from muxproxy.errors import MuxError
from muxproxy.headers import Headers

# A JSON answer up to this size may be collected to add router_metadata (DESIGN section 8).
COLLECT_LIMIT = 256 * 1024
# One to be translated has no other way; answers with images in base64 reach some MiB.
TRANSLATE_LIMIT = 64 * 1024 * 1024


class Sink(Protocol):
    """The caller's side; our door's splice, or `sinks.AsgiSink` elsewhere."""

    @property
    def gone(self) -> bool: ...
    def whole_body(self) -> bytes | None: ...
    def start(self, status: int, headers: Headers) -> None: ...
    def write(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def end(self) -> None: ...
    def abort(self) -> None: ...
    def watch(
        self,
        pause: Callable[[], None],
        resume: Callable[[], None],
        gone: Callable[[], None],
    ) -> None: ...


class Flow(Protocol):
    """What a relay needs of the upstream reply."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def cancel(self) -> None: ...


class Observer(Protocol):
    """The tap."""

    def feed(self, data: bytes) -> None: ...
    def finish(self) -> None: ...


class Stripper(Protocol):
    """Takes out the usage chunk that only we asked for."""

    def feed(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


Collect = Callable[[int, Headers, bytes], tuple[int, Headers, bytes]]


class Relay:
    """One reply on its way to the caller; the upstream's Consumer.

    `head` is (status, headers) still to be written. With `collect` the body is held until it is
    complete and passed through `collect`, which may edit head and body or raise MuxError; a body
    larger than COLLECT_LIMIT passes as it came, or with `translated` larger than TRANSLATE_LIMIT
    is an error. `stripper` may take parts out of a stream or translate it. `error_event` renders
    a mid-stream failure in the caller's dialect, or is None where the body has no events. `whole`
    judges a body that has ended.
    """

    __slots__ = (
        "_collect",
        "_collected",
        "_drain",
        "_error_event",
        "_flow",
        "_head",
        "_held",
        "_last",
        "_paused",
        "_sink",
        "_stripper",
        "_tap",
        "_translated",
        "_whole",
        "bytes_out",
        "done",
        "end_kind",
        "error",
        "started",
    )

    def __init__(  # noqa: PLR0913 -- one per exchange, made in one place
        self,
        sink: Sink,
        flow: Flow,
        tap: Observer,
        head: tuple[int, Headers],
        *,
        stripper: Stripper | None = None,
        collect: Collect | None = None,
        translated: bool = False,
        error_event: Callable[[MuxError], bytes] | None = None,
        drain: float | None = None,
        whole: Callable[[], bool] | None = None,
    ) -> None:
        self._sink = sink
        self._flow = flow
        self._tap = tap
        self._head = head
        self._stripper = stripper
        self._collect = collect
        self._collected: list[bytes] = []
        self._held = 0
        self._translated = translated
        self._last = b""
        self._error_event = error_event
        self._drain = drain
        self.bytes_out = 0
        self.started = False
        self.end_kind: str | None = None
        self.error: MuxError | None = None
        self.done: asyncio.Future[None] | None = None
        self._whole = whole
        self._paused = False

    def _start(self) -> None:
        self.started = True
        status, headers = self._head
        self._sink.start(status, headers)

    def open_stream(self) -> None:
        """Events may be a while in coming: let the caller have the head now."""
        if self._error_event is not None and not self.started and self.end_kind is None:
            self._start()
            self._sink.flush()

    @property
    def streams(self) -> bool:
        """Whether the body has events."""
        return self._error_event is not None

    def show_life(self, text: bytes) -> None:
        """A comment or a ping, where an event is complete and the caller reads."""
        if not self.started or self._paused or self._sink.gone or self.end_kind is not None:
            return
        if not self._last or self._last.endswith((b"\n\n", b"\r\n\r\n")):
            self.bytes_out += len(text)
            self._sink.write(text)

    # -- the upstream's Consumer ------------------------------------------------------------

    def data(self, data: bytes) -> None:
        """One socket read's worth of body, de-chunked."""
        self._tap.feed(data)
        if self._collect is not None:
            self._hold_back(data)
            return
        if self._stripper is not None:
            data = self._stripper.feed(data)
            if not data:
                return
        if not self.started:
            self._start()
        self.bytes_out += len(data)
        # Of a read that is but a line break, what stood before it tells whether an event is whole.
        self._last = data if len(data) > 3 else self._last[-4:] + data
        self._sink.write(data)

    def end(self) -> None:
        """The body is complete."""
        self._tap.finish()
        if self._whole is not None and not self._whole():
            self.broken(MuxError("upstream_died", "the provider closed before the stream's end"))
            return
        if self._collect is None and not self.started:
            self._start()
        if self._collect is not None:
            try:
                status, headers, body = self._collect(*self._head, b"".join(self._collected))
            except MuxError as error:
                self.broken(error)
                return
            self._head = (status, headers)
            self._start()
            self.bytes_out += len(body)
            self._sink.write(body)
        elif self._stripper is not None and (rest := self._stripper.flush()):
            self.bytes_out += len(rest)
            self._sink.write(rest)
        self._sink.end()
        self._finish(exchange.DRAINED if self._sink.gone else exchange.FINISHED)

    def broken(self, error: MuxError) -> None:
        """The upstream failed after its head: never a clean end for the caller."""
        self._tap.finish()
        self.error = error
        self._break(error)
        self._finish(exchange.UPSTREAM_DIED)

    def _hold_back(self, data: bytes) -> None:
        self._collected.append(data)
        self._held += len(data)
        if self._translated:
            if self._held > TRANSLATE_LIMIT:
                error = MuxError("upstream_protocol", "the answer is too large to be translated")
                self.stop(exchange.ERROR, error)
        elif self._held > COLLECT_LIMIT:  # too large to edit: pass it through after all
            self._collect = None
            self._start()
            self.bytes_out += self._held
            self._sink.write(b"".join(self._collected))
            self._collected.clear()

    # -- the caller's side ------------------------------------------------------------------

    def pause(self) -> None:
        """The caller reads slower than the provider writes."""
        self._paused = True
        self._flow.pause()

    def resume(self) -> None:
        """The caller caught up."""
        self._paused = False
        self._flow.resume()

    def client_left(self) -> None:
        """The caller is gone: close upstream at once, or read on for `drain` seconds."""
        if self.end_kind is not None:
            return
        if self._drain is None:
            self.stop(exchange.CLIENT_LEFT)
            return
        self._flow.resume()
        asyncio.get_running_loop().call_later(self._drain, self.stop, exchange.CLIENT_LEFT)

    def stop(self, kind: str, error: MuxError | None = None) -> None:
        """Cut the exchange from our side."""
        if self.end_kind is not None:
            return
        self._flow.cancel()
        self._tap.finish()
        self.error = error
        if error is not None:
            self._break(error)
        self._finish(kind)

    def _break(self, error: MuxError) -> None:
        """Tell the caller, and end without a terminator."""
        if not self.started or self._sink.gone:
            return  # not started: the road still can answer properly
        whole = not self._last or self._last.endswith((b"\n\n", b"\r\n\r\n"))
        if self._error_event is not None and whole:
            self._sink.write(self._error_event(error))
        self._sink.abort()

    def _finish(self, kind: str) -> None:
        self.end_kind = kind
        if self.done is not None and not self.done.done():
            self.done.set_result(None)

    async def wait(self) -> None:
        """Until the exchange ended, however it did; `end_kind` says how."""
        if self.end_kind is None:
            self.done = asyncio.get_running_loop().create_future()
            await self.done
