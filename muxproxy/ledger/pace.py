"""When the ledger writes: at the end of this tick, a little later, or again after a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """Calls `run`, at most once per request for it. Nothing is called after close()."""

    __slots__ = ("_closed", "_loop", "_run", "_soon", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Callable[[], None]) -> None:
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
        """Run within `delay` seconds; rides along with whatever comes sooner."""
        if self._timer is None and not self._soon and not self._closed:
            self._timer = self._loop.call_later(delay, self._alarm)

    def again(self, delay: float) -> None:
        """Run after `delay` seconds, whatever was set before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._closed:
            self._timer = self._loop.call_later(delay, self._alarm)

    @property
    def waiting(self) -> bool:
        """Whether a timer is set."""
        return self._timer is not None

    def close(self) -> None:
        """Stop."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._soon = False
        if not self._closed:
            self._run()

    def _alarm(self) -> None:
        self._timer = None
        if not self._soon:
            self._run()
