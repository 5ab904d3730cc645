"""The connections to one origin: reused last in first out, waited for first come first served."""

import asyncio
import time
from collections import deque

from muxproxy.upstream.connection import Connection
from muxproxy.upstream.dial import Dialer
from muxproxy.upstream.egress import parse_proxy
from muxproxy.upstream.head import Heads
from muxproxy.upstream.spec import OriginSpec, OriginStats, UpstreamError

# Seconds between two sweeps: a quarter of the shortest time-out, within these.
_SWEEP_MIN, _SWEEP_MAX = 0.01, 1.0
_CLOCK = time.perf_counter_ns


class Origin:
    """One pool. Raises ValueError for a proxy URL that cannot be used."""

    def __init__(self, spec: OriginSpec, dialer: Dialer) -> None:
        self.spec = spec
        self.stale_retries_total = 0
        self.listed = True  # among the client's pools
        self._proxy = parse_proxy(spec.proxy) if spec.proxy else None
        self.heads = Heads(spec, self._proxy)
        self._dialer = dialer
        self._loop = asyncio.get_running_loop()
        self._all: set[Connection] = set()  # every open connection
        self._idle: list[Connection] = []  # the last one is used next
        # Each is given a connection, or None for the right to open one.
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._opening = 0
        self._closing: set[Connection] = set()  # aborted, socket not yet closed
        self._uploads: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._interval = _sweep_interval(spec)
        self._retired = False  # nothing stays idle
        self._closed = False  # nothing opens
        self._connects_total = 0
        self._reused_total = 0
        self._emptied: asyncio.Future[None] | None = None

    @property
    def unused(self) -> bool:
        """Nothing is open, opening or awaited."""
        return not (self._all or self._opening or self._waiters)

    @property
    def has_room(self) -> bool:
        """Whether a request would have a connection without waiting for another's."""
        return bool(self._idle) or not self._full()

    def take(self) -> Connection | None:
        """An idle connection, if there is one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                self._reused_total += 1
                return connection
            connection.drop()
        return None

    async def acquire(self, *, fresh: bool = False, within: float | None = None) -> Connection:
        """A connection for one exchange; opens one, or waits while max_connections are in use.

        `fresh`: not one that has lain idle. `within`: seconds, in place of the origin's own
        `connect`. Raises UpstreamError; cancellation leaves the pool as it was.
        """
        limit = self.spec.connect if within is None else within
        if fresh and self._idle and self._full():
            self._idle[0].drop()
        while self._full() or self._waiters:
            connection = await self._wait(limit)
            if connection is None:
                return await self._open(limit)
            if connection.usable:
                self._reused_total += 1
                return connection
            connection.drop()
        self._opening += 1
        return await self._open(limit)

    def release(self, connection: Connection) -> None:
        """Take back a connection that has served and may serve again."""
        if self._retired:
            connection.drop()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if len(self._idle) >= self.spec.max_idle:
            connection.drop()
        else:
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """It will not serve again; its place is free."""
        if connection in self._all:
            self._all.remove(connection)
            self._closing.add(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    def closed(self, connection: Connection) -> None:
        """Its socket is closed, or no longer ours."""
        self._closing.discard(connection)
        if self._emptied is not None and not self._closing and not self._emptied.done():
            self._emptied.set_result(None)

    def track(self, task: "asyncio.Task[None]") -> None:
        """A request body's task, to be waited for on closing."""
        self._uploads.add(task)
        task.add_done_callback(self._uploads.discard)

    def hasten(self, shortest: float) -> None:
        """A request has a time-out of so many seconds: sweep often enough for it."""
        interval = max(_SWEEP_MIN, shortest / 4)
        if interval < self._interval:
            self._interval = interval
            if self._timer is not None:
                self._timer.cancel()
                self._timer = self._loop.call_later(interval, self._sweep)

    def retire(self) -> None:
        """No longer configured: close what is idle, and the rest as it becomes idle."""
        self._retired = True
        for connection in self._idle.copy():
            connection.drop()

    async def aclose(self) -> None:
        """Close everything at once; pending exchanges fail."""
        self._closed = True
        self.retire()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(self._shut())
        self._waiters.clear()
        for connection in list(self._all):
            connection.close(self._shut())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._uploads:
            await asyncio.wait(self._uploads)
        while self._closing:
            self._emptied = self._loop.create_future()
            await self._emptied

    def stats(self) -> OriginStats:
        """A snapshot."""
        stats = OriginStats(
            origin=f"{self.spec.scheme}://{self.spec.label}",
            open=len(self._all),
            idle=len(self._idle),
            in_flight=len(self._all) - len(self._idle),
            opening=self._opening,
            waiting=len(self._waiters),
            connects_total=self._connects_total,
            reused_total=self._reused_total,
            stale_retries_total=self.stale_retries_total,
        )
        return stats

    def _full(self) -> bool:
        return len(self._all) + self._opening >= self.spec.max_connections

    async def _open(self, limit: float) -> Connection:
        """Use up one count of `opening`."""
        connection = Connection(self)
        try:
            if self._closed:
                raise self._shut()
            await self._dialer.dial(self.spec, self._proxy, connection, limit)
            if self._closed or not connection.usable:
                connection.drop()
                raise self._shut() if self._closed else self._gone()
        except BaseException:
            self._opening -= 1
            self._wake()
            raise
        self._opening -= 1
        self._all.add(connection)
        self._connects_total += 1
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._sweep)
        return connection

    async def _wait(self, limit: float) -> Connection | None:
        """A connection handed over, or None: the place of one, counted in `opening`."""
        if self._closed:
            raise self._shut()
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(limit):
                return await waiter
        except BaseException as error:
            self._give_back(waiter)
            if isinstance(error, TimeoutError):
                raise UpstreamError(
                    "timeout",
                    f"all {self.spec.max_connections} connections to {self.spec.label} were busy"
                    f" for {limit:g} s: see the provider's pool.max_connections",
                    code="overloaded",
                ) from None
            raise

    def _give_back(self, waiter: "asyncio.Future[Connection | None]") -> None:
        if not waiter.done() or waiter.cancelled():
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        elif waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._opening -= 1
                self._wake()
            elif connection.usable:
                self.release(connection)
            else:
                connection.drop()

    def _wake(self) -> None:
        """Let the next in the queue open a connection, if there is room."""
        while self._waiters and not self._full():
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)

    def _sweep(self) -> None:
        self._timer = None
        now = _CLOCK()
        for connection in list(self._all):
            connection.sweep(now)
        if self._all:
            self._timer = self._loop.call_later(self._interval, self._sweep)

    def _gone(self) -> UpstreamError:
        return UpstreamError("connect", f"{self.spec.label} closed the connection at once")

    def _shut(self) -> UpstreamError:
        return UpstreamError(
            "connect",
            f"the connections to {self.spec.label} are being closed",
            code="shutting_down",
        )


def _sweep_interval(spec: OriginSpec) -> float:
    times = [spec.first_byte, spec.idle, spec.idle_expiry]
    if spec.total is not None:
        times.append(spec.total)
    return max(_SWEEP_MIN, min(_SWEEP_MAX, min(times) / 4))
