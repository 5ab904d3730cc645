"""The circuit breaker of one provider and model. Pure: time comes in, in seconds.

closed -- so many failures in a row --> open -- after a while --> half open, one probe
   ^------------------- the probe is answered -------------------------'   fails: open again
"""

from __future__ import annotations

import msgspec

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
LONGEST = 300.0  # seconds open, however often probes fail
FORGET = 60.0  # seconds after which failures no longer count as in a row


class Terms(msgspec.Struct, frozen=True):
    """`failures` in a row open it for `open_for` seconds; 0: never."""

    failures: int = 5
    open_for: float = 10.0


class Circuit:
    """Exists from the first failure until all is well again."""

    __slots__ = ("_last", "_length", "_probe_until", "_terms", "failures", "until")

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.failures = 0
        self.until = 0.0  # when it may be probed; 0.0: closed
        self._length = terms.open_for
        self._last = 0.0
        self._probe_until = 0.0

    def state(self, now: float) -> str:
        """Closed, open or half open."""
        if not self.until:
            return CLOSED
        return OPEN if now < self.until else HALF_OPEN

    def admits(self, now: float) -> bool:
        """Whether a request may go there."""
        return not self.until or (now >= self.until and now >= self._probe_until)

    def begin(self, now: float) -> None:
        """A request goes there; the first of a half-open one is its probe.

        A probe that is never heard of again (its caller left) blocks no other for longer than it
        was open.
        """
        if self.until and now >= self.until:
            self._probe_until = now + self._length

    def failed(self, now: float) -> bool:
        """One more failure; True when that opened it."""
        if now - self._last > FORGET and not self.until:
            self.failures = 0
        self._last = now
        self.failures += 1
        if self.until:
            if now < self.until:
                return False  # sent before it opened, or because there was no other
            self._length = min(self._length * 2, LONGEST)
        elif not self._terms.failures or self.failures < self._terms.failures:
            return False
        self.until = now + self._length
        self._probe_until = 0.0
        return True
