"""When the ledger writes: at the end of this tick, a little later, or again after a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """Calls `run`, at most once per request for it. Nothing is called after close().

    `run(False)` at the end of a tick, `run(True)` when a delay is over: all that waits is due.
    """

    __slots__ = ("_closed", "_loop", "_run", "_soon", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Callable[[bool], None]) -> None:
        self._loop = loop
        self._run = run
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def now(self) -> None:
        """Run when this tick is over, once for all who ask in it."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._tick)

    def later(self, delay: float) -> None:
        """Run within `delay` seconds."""
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(delay, self._alarm)

    def again(self, delay: float) -> None:
        """Run after `delay` seconds, whatever was set before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._closed:
            self._timer = self._loop.call_later(delay, self._alarm)

    def close(self) -> None:
        """Stop."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._soon = False
        if not self._closed:
            self._run(False)

    def _alarm(self) -> None:
        self._timer = None
        self._run(True)
