"""The upstream client: pools by origin, one call to send a request."""

import asyncio
import time
from collections.abc import Collection

from muxproxy.upstream.dial import Dialer, Permit
from muxproxy.upstream.pool import Origin
from muxproxy.upstream.reply import Reply
from muxproxy.upstream.resolve import Resolver
from muxproxy.upstream.spec import OriginSpec, OriginStats, Request, Times, UpstreamError

_CLOCK = time.perf_counter_ns
# Beyond this many origins (absolute-form requests may name any host) unused ones are dropped.
_MAX_ORIGINS = 256


class Upstreams:
    """Owns every pool; lives as long as the process and survives reloads."""

    def __init__(self, resolver: Resolver | None = None, permit: Permit | None = None) -> None:
        """`permit(address)` judges where guarded origins may lead."""
        self._dialer = Dialer(resolver or Resolver(), permit)
        self._origins: dict[OriginSpec, Origin] = {}
        self._retired: list[Origin] = []
        self._loop = asyncio.get_running_loop()

    def origin(self, spec: OriginSpec) -> Origin:
        """The pool of `spec`. Raises ValueError if its proxy URL cannot be used."""
        origin = self._origins.get(spec)
        if origin is None:
            if len(self._origins) >= _MAX_ORIGINS:
                for unused in [o for o in self._origins.values() if o.unused]:
                    del self._origins[unused.spec]
                    unused.listed = False
            origin = self._origins[spec] = Origin(spec, self._dialer)
        return origin

    def retain(self, specs: Collection[OriginSpec]) -> None:
        """After a reload: pools of other specs close when their exchanges are over."""
        for spec in [spec for spec in self._origins if spec not in specs]:
            origin = self._origins.pop(spec)
            origin.retire()
            self._retired.append(origin)
        for origin in [origin for origin in self._retired if origin.unused]:
            self._retired.remove(origin)
            origin.listed = False

    async def send(self, origin: Origin, request: Request) -> Reply:
        """Send; gives the Reply once its head is complete (interim responses are skipped).

        Raises UpstreamError, MuxError("invalid_request") for a head that cannot be sent, or what
        a streamed body's iterator raises. Cancellation closes the connection at once. If a pooled
        connection turns out to be closed before a byte was answered, a request whose body is bytes
        is sent once more on a fresh one; a streamed one fails with cause "stale".
        """
        head = origin.heads.render(request)
        body = request.body
        whole = isinstance(body, bytes)
        deadline_ns = request.deadline_ns
        if origin.spec.total is not None:
            total_ns = _CLOCK() + int(origin.spec.total * 1e9)
            deadline_ns = min(deadline_ns, total_ns) if deadline_ns else total_ns
        times = request.times
        if times is not None or request.deadline_ns:
            _hasten(origin, times, request.deadline_ns)
        method = request.method
        upgradable = method == b"GET" and not body and b"\r\nupgrade: " in head
        again = False
        while True:
            connection = None if again else origin.take()
            if connection is None:
                if not origin.listed:
                    self._list_again(origin)
                within = None if times is None else times.connect
                if deadline_ns:
                    own = origin.spec.connect if within is None else within
                    within = min(_remaining(origin, deadline_ns), own)
                connection = await origin.acquire(fresh=again, within=within)
            reply = Reply(
                self._loop.create_future(),
                bodiless=method == b"HEAD",
                upgradable=upgradable,
                deadline_ns=deadline_ns,
                times=times,
            )
            request.sent = True
            try:
                connection.start(reply, head, body, request.length)
                await reply.waiter
            except UpstreamError as error:
                if error.cause != "stale" or again or not whole:
                    raise
                again = True
                origin.stale_retries_total += 1
            except BaseException:
                reply.cancel()
                raise
            else:
                return reply

    def _list_again(self, origin: Origin) -> None:
        """An unused pool was dropped while somebody still held it: it must be closed with us."""
        origin.listed = True
        if self._origins.setdefault(origin.spec, origin) is not origin:
            self._retired.append(origin)

    def stats(self) -> list[OriginStats]:
        """One entry per pool."""
        return [origin.stats() for origin in (*self._origins.values(), *self._retired)]

    async def aclose(self) -> None:
        """Close all connections; returns when their sockets are closed."""
        for origin in (*self._origins.values(), *self._retired):
            await origin.aclose()
        self._origins.clear()
        self._retired.clear()
        await self._dialer.resolver.aclose()


def _hasten(origin: Origin, times: Times | None, deadline_ns: int) -> None:
    """Let the pool look at its deadlines often enough for this request's."""
    shortest = [] if times is None else [times.first_byte, times.idle]
    if deadline_ns:
        shortest.append(max((deadline_ns - _CLOCK()) / 1e9, 0.0))
    origin.hasten(min(shortest))


def _remaining(origin: Origin, deadline_ns: int) -> float:
    """Seconds left. Raises UpstreamError when there are none."""
    left = deadline_ns - _CLOCK()
    if left <= 0:
        host = origin.spec.label
        raise UpstreamError("timeout", f"no time is left to ask {host}: see timeouts.total")
    return left / 1e9
