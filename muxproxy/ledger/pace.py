"""When the ledger writes: at the end of this tick, a little later, or again after a refusal.

What somebody waits for (a hold's commit) is written at the end of the tick. The rest (receipts)
rides along, but not with every tick: under load a commit that writes holds alone touches a quarter
of the pages, and the pages of the receipts are then written once for many of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

RIDE = 0.005  # seconds that what nobody waits for is left to gather


class Pace:
    """Calls `run`, at most once per request for it. Nothing is called after close().

    Its argument says whether everything is to be written, or only what is waited for.
    """

    __slots__ = ("_closed", "_due", "_loop", "_run", "_soon", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, run: Callable[[bool], None]) -> None:
        self._loop = loop
        self._due = 0.0  # loop time from which a tick writes everything
        self._run = run
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def now(self) -> None:
        """Run when this tick and the next are over, once for all who ask in them."""
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._gather)

    def later(self) -> None:
        """Run within RIDE seconds; rides along with what comes sooner, if the last ride was not
        just now."""
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(RIDE, self._alarm)

    def on(self) -> None:
        """Run when this tick is over and write everything: more is there than one run takes."""
        self._due = 0.0
        self.now()

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

    def _gather(self) -> None:
        """Once around the loop first: what is ready to be read by now shares the commit."""
        self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._soon = False
        if self._closed:
            return
        now = self._loop.time()
        whole = now >= self._due
        if whole:
            self._due = now + RIDE
        self._run(whole)

    def _alarm(self) -> None:
        self._timer = None
        if self._soon:
            self._due = 0.0
        else:
            self._due = self._loop.time() + RIDE
            self._run(True)
