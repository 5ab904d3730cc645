"""What the connections of one door share. Owned by `Door`; connections only borrow it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Literal, Protocol

from muxproxy.doors.head import HeadParser
from muxproxy.doors.limits import DoorLimits, DoorStats
from muxproxy.errors import MuxError
from muxproxy.headers import Headers

if TYPE_CHECKING:
    from muxproxy.doors.http2 import Http2

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

Verdict = Literal["tunnel", "intercept"] | MuxError
# A tunnel's host, and an IP address and port that it leads to: may we connect there?
PermitAddress = Callable[[str, str, int], bool]


class Tunnels(Protocol):
    """Who decides about CONNECT. `off`: no tunnel is ever opened."""

    @property
    def off(self) -> bool: ...
    def connect(self, host: str, port: int, headers: Headers, /) -> Verdict: ...
    def towards(self, host: str, port: int, /) -> Verdict: ...
    def context(self, host: str, /) -> SSLContext: ...
    def rejected(self, host: str, reason: str, /) -> None: ...
    def hidden(self, host: str, name: str, /) -> None: ...


class Carrier(Protocol):
    """What a splice needs of its connection."""

    transport: asyncio.Transport
    write_paused: bool

    def response_ended(self, close: bool) -> None: ...
    def break_off(self, reset: bool) -> None: ...
    def body_taken(self) -> None: ...
    def hand_over(self) -> bytes: ...


class Peer(Protocol):
    """One open connection, as the sweep and the drain see it."""

    deadline: float  # loop time after which `expired` is called; inf: none

    def expired(self) -> None: ...
    def close_if_idle(self) -> None: ...
    def abort(self) -> None: ...


class Running(Protocol):
    """One call of the app."""

    @property
    def task(self) -> asyncio.Task[Any] | None: ...
    def cancel(self) -> None: ...


class DoorState:
    """Limits, counts, clock and registries of one door."""

    __slots__ = (
        "app",
        "clock",
        "closed",
        "date",
        "draining",
        "emptied",
        "http2",
        "interval",
        "limits",
        "loop",
        "parser",
        "peers",
        "permit_address",
        "running",
        "stats",
        "tunnels",
    )

    def __init__(self, app: App, limits: DoorLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.limits = limits
        self.loop = loop
        self.stats = DoorStats()
        self.parser = HeadParser(limits)
        self.peers: set[Peer] = set()
        self.running: set[Running] = set()
        self.draining = False
        self.closed = False  # for good: what still comes out of a TLS handshake is dropped
        self.emptied = asyncio.Event()
        self.tunnels: Tunnels | None = None
        self.http2: Http2 | None = None  # made for the first listener or tunnel that speaks it
        self.permit_address: PermitAddress | None = None
        shortest = min(
            limits.header_timeout,
            limits.body_timeout,
            limits.keep_alive,
            limits.send_timeout,
            limits.linger,
        )
        self.interval = min(1.0, max(0.01, shortest / 4))  # of the sweep, seconds
        self.tick()

    def tick(self) -> None:
        """Moves the coarse clock. It stands still between ticks, so that a connection's deadline
        costs an addition; it runs ahead by one interval, so that none comes too early."""
        self.clock = self.loop.time() + self.interval
        self.date = b"\r\ndate: " + formatdate(usegmt=True).encode("ascii")

    def refused(self, code: str) -> None:
        counts = self.stats.refused
        counts[code] = counts.get(code, 0) + 1

    def left(self) -> None:
        """Called whenever a connection or a call of the app is over."""
        if self.draining and not self.peers and not self.running:
            self.emptied.set()
