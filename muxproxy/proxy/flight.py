"""One of two attempts that are under way at the same time.

The exchange and its booking know one attempt: what belongs to it is kept here while the other one
is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import perf_counter_ns
from typing import TYPE_CHECKING

from muxproxy.proxy.complaints import complaint
from muxproxy.upstream import Reply, Upstreams

if TYPE_CHECKING:
    from muxproxy.proxy.outbound import Outbound
    from muxproxy.proxy.road import Exchange


class Flight:
    """Sets out at once. `racing`: before its task ends, the answer's beginning is looked at, and
    `cause` says what is wrong with it. `over`: it is settled, or the road has its answer."""

    __slots__ = (
        "cause", "departed_ns", "held", "hold_id", "journaled", "live", "model", "outbound", "over",
        "price", "racing", "reply", "request", "second", "service", "target", "task",
    )  # fmt: skip

    def __init__(
        self,
        x: Exchange,
        outbound: Outbound,
        journaled: Awaitable[None] | None = None,
        *,
        second: bool = False,
    ) -> None:
        """Of the attempt that `x` holds for; nothing is sent before `journaled`."""
        booking = x.booking
        assert x.target is not None and x.service is not None and booking.held is not None
        self.target, self.service, self.outbound = x.target, x.service, outbound
        self.request = x.depart(x.service, outbound)
        assert x.live is not None
        self.live = x.live
        self.held, self.hold_id, self.journaled = booking.held, booking.hold_id, booking.journaled
        self.price, self.model = booking.price, booking.model
        self.second = self.racing = second
        self.over = False
        self.cause: str | None = None
        self.reply: Reply | None = None
        self.departed_ns = perf_counter_ns()
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._fly(x.proxy.upstreams, journaled))

    async def _fly(self, upstreams: Upstreams, journaled: Awaitable[None] | None) -> Reply:
        if journaled is not None:
            await journaled
        reply = self.reply = await upstreams.send(self.service.origin, self.request)
        if self.racing:
            self.cause = await complaint(reply)
        return reply

    @property
    def failed(self) -> bool:
        """Whether it has ended without an answer that may be passed on."""
        return self.task.done() and (self.task.exception() is not None or self.cause is not None)

    @property
    def owed(self) -> bool:
        """Whether it may have cost money, as far as it came."""
        return self.request.sent if self.reply is None else self.reply.status < 400

    def take_over(self, x: Exchange) -> None:
        """This is the exchange's attempt from now on."""
        booking = x.booking
        x.target, x.service, x.live = self.target, self.service, self.live
        x.sent_anything = self.request.sent
        booking.service, booking.model, booking.price = self.service, self.model, self.price
        booking.held, booking.hold_id, booking.journaled = self.held, self.hold_id, self.journaled

    def let_go(self) -> None:
        """Cancel it; its connection is closed, unless its answer is complete."""
        self.over = True
        if not self.task.done():
            self.task.cancel()
        elif not self.task.cancelled() and self.task.exception() is None and self.reply is not None:
            self.reply.cancel()
