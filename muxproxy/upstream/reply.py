"""The answer to one exchange: its head, and the body on its way to a Consumer."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from muxproxy.headers import Headers
from muxproxy.upstream.spec import Consumer, Times, UpstreamError

# Body bytes kept before pump(); beyond it the socket is not read (one read may overshoot).
_HELD_MAX = 65536


class Link(Protocol):
    """The connection under an open reply."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def drop(self) -> None: ...
    def detach(self) -> tuple[asyncio.Transport, bytes]: ...


class Reply:
    """`headers` have lower-case names, hop-by-hop fields included, order and duplicates kept.

    `sent_ns`, `head_ns`: perf_counter_ns when the request was written and the head was complete.
    `reused`: the connection had served before. Whoever holds a Reply must pump(), read(),
    detach() or cancel() it, or its connection stays taken until the origin's `idle` time.
    """

    __slots__ = (
        "bodiless",
        "consumer",
        "deadline_ns",
        "done",
        "error",
        "head_ns",
        "headers",
        "held",
        "held_size",
        "link",
        "peeking",
        "reason",
        "reused",
        "sent_ns",
        "status",
        "taken",
        "times",
        "upgradable",
        "waiter",
    )

    def __init__(
        self,
        waiter: "asyncio.Future[None]",
        *,
        bodiless: bool = False,
        upgradable: bool = False,
        deadline_ns: int = 0,
        times: Times | None = None,
    ) -> None:
        self.waiter = waiter
        self.bodiless = bodiless  # asked with HEAD
        self.upgradable = upgradable  # a 101 was asked for
        self.deadline_ns = deadline_ns  # 0: none
        self.times = times  # None: the origin's
        self.peeking: asyncio.Future[None] | None = None
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.reused = False
        self.sent_ns = 0
        self.head_ns = 0
        self.link: Link | None = None
        self.consumer: Consumer | None = None
        self.held: list[bytes] | None = None
        self.held_size = 0
        self.taken = False  # somebody has the body, or nobody will
        self.done = False  # complete, broken or cancelled
        self.error: UpstreamError | None = None

    # -- for whoever asked

    def pump(self, consumer: Consumer) -> None:
        """Deliver the body: what has arrived at once, the rest as it comes. Only once."""
        if self.taken:
            raise RuntimeError("the body has been taken")
        if self.status == 101:
            raise RuntimeError("a 101 has no body: detach()")
        self.taken = True
        self.consumer = consumer
        held = self.held
        if held:
            self.held = None
            if self.held_size > _HELD_MAX and self.link is not None:
                self.link.resume()
            consumer.data(held[0] if len(held) == 1 else b"".join(held))
        if self.done and self.consumer is not None:  # not cancelled in data()
            self.consumer = None
            if self.error is not None:
                consumer.broken(self.error)
            else:
                consumer.end()

    async def peek(self, enough: Callable[[bytes], bool]) -> bytes:
        """The body's first bytes, which pump() will deliver again.

        Returns once `enough` of them are there, the body is complete or 64 KiB are held. Raises
        UpstreamError when it breaks before; the reply is over then.
        """
        try:
            while True:
                begun = b"" if self.held is None else b"".join(self.held)
                if self.error is not None:
                    raise self.error
                if self.done or self.held_size > _HELD_MAX or enough(begun):
                    return begun
                self.peeking = self.waiter.get_loop().create_future()
                await self.peeking
        except BaseException:
            self.cancel()
            raise
        finally:
            self.peeking = None

    def _told(self) -> None:
        """Wake whoever peeks."""
        if self.peeking is not None and not self.peeking.done():
            self.peeking.set_result(None)

    def pause(self) -> None:
        """Stop reading from upstream; the rest of the current read is still delivered."""
        if self.link is not None:
            self.link.pause()

    def resume(self) -> None:
        """Go on reading."""
        if self.link is not None:
            self.link.resume()

    def cancel(self) -> None:
        """Close the connection at once unless the answer is complete; no callback follows."""
        self.taken = self.done = True
        self.consumer = self.held = None
        link = self.link
        if link is not None:
            self.link = None
            link.drop()

    def detach(self) -> tuple[asyncio.Transport, bytes]:
        """After a 101: the transport, paused, and the bytes that came behind the head.

        The caller owns it from now on: set_protocol(), then resume_reading(). Raises RuntimeError
        for any other status or when the connection is gone.
        """
        link = self.link
        if self.status != 101 or link is None:
            raise RuntimeError("nothing to detach")
        self.link = None
        self.taken = self.done = True
        return link.detach()

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamError when it breaks or exceeds `limit` bytes."""
        sink = _Sink(self, limit)
        try:
            self.pump(sink)
            return await sink.whole
        except BaseException:
            self.cancel()
            raise

    # -- for the connection

    def began(self, status: int, reason: bytes, headers: Headers, head_ns: int) -> None:
        """The head is complete."""
        self.status = status
        self.reason = reason
        self.headers = headers
        self.head_ns = head_ns
        if not self.waiter.done():
            self.waiter.set_result(None)

    def hold(self, data: bytes) -> None:
        """Keep body bytes that nobody has asked for yet."""
        if self.held is None:
            self.held = []
        self.held.append(data)
        self.held_size += len(data)
        if self.held_size > _HELD_MAX and self.link is not None:
            self.link.pause()
        self._told()

    def ended(self) -> None:
        """The body is complete."""
        self.link = None
        self.done = True
        consumer = self.consumer
        if consumer is not None:
            self.consumer = None
            consumer.end()
        else:
            self._told()

    def failed(self, error: UpstreamError, before_head: Exception | None = None) -> None:
        """The exchange broke; `before_head` is what send() raises if that is another error."""
        self.link = None
        self.done = True
        if not self.waiter.done():
            self.waiter.set_exception(before_head or error)
            return
        consumer = self.consumer
        if consumer is not None:
            self.consumer = None
            consumer.broken(error)
        else:
            self.error = error
            self._told()


class _Sink:
    """Collects a body."""

    __slots__ = ("_left", "_parts", "_reply", "whole")

    def __init__(self, reply: Reply, limit: int) -> None:
        self._reply = reply
        self._left = limit
        self._parts: list[bytes] = []
        self.whole: asyncio.Future[bytes] = reply.waiter.get_loop().create_future()

    def data(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._reply.cancel()
            self._fail(UpstreamError("protocol", "the provider's answer is too long", sent=True))
            return
        self._parts.append(data)

    def end(self) -> None:
        if not self.whole.done():
            self.whole.set_result(b"".join(self._parts))

    def broken(self, error: UpstreamError) -> None:
        self._fail(error)

    def _fail(self, error: UpstreamError) -> None:
        if not self.whole.done():
            self.whole.set_exception(error)
