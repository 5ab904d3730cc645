"""What the simulator saw: one record per request, bounded, with a way to wait for a state."""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from muxproxy.sim.http import Head

_PRINTED_BODY = 4096
# Of the bodies, the newest up to this many bytes are kept: a test of large uploads must not fill
# the machine's memory from here.
_KEPT_BYTES = 512 * 1024 * 1024


class Recorded:
    """One request as received. `complete`: head and whole body arrived. `replied`: the scripted
    reply was written to its end, a scripted fault included. `closed_early`: the peer closed the
    connection before that (for a scripted hang: at all). `connection` counts connections from 1,
    so equal numbers mean a reused connection. `body` is None when it was forgotten for space."""

    __slots__ = (
        "body",
        "closed_early",
        "complete",
        "connection",
        "head",
        "length",
        "replied",
        "time",
    )

    def __init__(self, head: Head, connection: int) -> None:
        self.head = head
        self.connection = connection
        self.time = time.monotonic()
        self.body: bytes | None = b""
        self.length = 0  # of the body, also when that is forgotten
        self.complete = False
        self.replied = False
        self.closed_early = False

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def target(self) -> str:
        return self.head.target

    @property
    def path(self) -> str:
        return self.head.target.partition("?")[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as sent: case, order and duplicates kept."""
        return list(self.head.headers)

    def get(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        value = self.head.get(name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    @property
    def sha256(self) -> str | None:
        return None if self.body is None else hashlib.sha256(self.body).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "target": self.target,
            "version": self.head.version,
            "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in self.head.headers],
            "body_bytes": self.length,
            "body_sha256": self.sha256,
            "body": (self.body or b"")[:_PRINTED_BODY].decode("utf-8", "replace"),
            "connection": self.connection,
            "complete": self.complete,
            "replied": self.replied,
            "closed_early": self.closed_early,
        }


class Records:
    """The last `limit` requests, oldest first, and the faults found in what was received."""

    __slots__ = (
        "_bytes",
        "_kept_bytes",
        "_limit",
        "_waiters",
        "connections",
        "faults",
        "open",
        "requests",
    )

    def __init__(self, limit: int, kept_bytes: int = _KEPT_BYTES) -> None:
        self.requests: deque[Recorded] = deque()
        self.faults: deque[str] = deque(maxlen=limit)
        self._limit = limit
        self._bytes = 0
        self._kept_bytes = kept_bytes
        self.connections = 0  # ever accepted
        self.open = 0
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def add(self, recorded: Recorded) -> None:
        self.requests.append(recorded)
        if len(self.requests) > self._limit:
            self._bytes -= len(self.requests.popleft().body or b"")
        self.changed()

    def completed(self, recorded: Recorded, body: bytes) -> None:
        recorded.body = body
        recorded.length = len(body)
        recorded.complete = True
        self._bytes += len(body)
        if self._bytes > self._kept_bytes:
            for old in self.requests:
                if old.body and old is not recorded:
                    self._bytes -= len(old.body)
                    old.body = None
                if self._bytes <= self._kept_bytes:
                    break
        self.changed()

    def clear(self) -> None:
        self.requests.clear()
        self.faults.clear()
        self._bytes = 0

    def changed(self) -> None:
        """To be called after any change; wakes those whose condition came true."""
        if not self._waiters:
            return
        for predicate, future in self._waiters:
            if future.done():
                continue
            try:
                if predicate():
                    future.set_result(None)
            except Exception as error:  # the waiter's fault, for the waiter to see
                future.set_exception(error)
        self._waiters = [waiter for waiter in self._waiters if not waiter[1].done()]

    async def until(self, predicate: Callable[[], bool], timeout: float) -> None:
        """Returns when `predicate()` is true; TimeoutError after `timeout` seconds."""
        if predicate():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((predicate, future))
        async with asyncio.timeout(timeout):
            await future
