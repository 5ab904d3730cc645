"""Bounds on what is under way at once: exchanges, those that wait to begin, bytes of bodies.

Beyond them a caller is told at once (503 with retry-after), which costs less than serving all of
them slowly. Without bounds configured there is no Gate at all.
"""

from __future__ import annotations

import asyncio
from collections import deque

from muxproxy.errors import MuxError

RETRY_AFTER = [(b"retry-after", b"1")]


def overloaded(message: str) -> MuxError:
    """Told to a caller that may come back."""
    return MuxError("overloaded", message, headers=list(RETRY_AFTER))


class Gate:
    """At most `limit` exchanges; `queue` more wait, first come first served, at most `patience`
    seconds."""

    __slots__ = ("_limit", "_patience", "_queue", "_running", "_waiters", "refused")

    def __init__(self, limit: int, queue: int, patience: float) -> None:
        self._limit = limit
        self._queue = queue
        self._patience = patience
        self._running = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.refused = 0

    @property
    def waiting(self) -> int:
        """How many wait to begin."""
        return len(self._waiters)

    async def enter(self) -> None:
        """Returns when the exchange may begin; `leave()` is due then. Raises MuxError: too many."""
        if self._running < self._limit and not self._waiters:
            self._running += 1
            return
        if len(self._waiters) >= self._queue:
            self.refused += 1
            raise overloaded(f"{self._running} calls are under way: see server.max_in_flight")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._patience):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # it was admitted meanwhile
            else:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise overloaded(
                    f"no call ended within {self._patience:g} s: see server.queue_timeout"
                ) from None
            raise

    def leave(self) -> None:
        """An exchange is over."""
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiters and self._running < self._limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._running += 1
                waiter.set_result(None)


class BodyMemory:
    """Bytes of request bodies that are collected here, over all exchanges.

    Bodies that arrive in one read are not counted: they are small, and bounded by the number of
    exchanges.
    """

    __slots__ = ("held", "limit", "refused")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.refused = 0

    def take(self, size: int) -> None:
        """`give(size)` is due when the body is let go. Raises MuxError: there is no room."""
        if self.held + size > self.limit:
            self.refused += 1
            raise overloaded(
                "too many bytes of request bodies are under way: see server.max_body_memory"
            )
        self.held += size

    def give(self, size: int) -> None:
        """A body was let go."""
        self.held -= size
