"""Notices when an edit of the configuration throws the providers' prompt caches away.

A rule that rewrites a field or sends a conversation elsewhere half-way makes every request pay for
its whole prompt again (PEERS.md rows 54-57). So after each reload the hit rate is compared with
that of before.
"""

from __future__ import annotations

from muxproxy.exchange import Usage

CALLS = 50  # after an edit, before it is judged
WORTH = 0.1  # a hit rate below this has nothing to lose
FALLEN = 0.5  # of what it was


class CacheWatch:
    """Prompt tokens and cached ones, before and since the last edit."""

    __slots__ = ("_before", "_calls", "_prompt", "_read", "alarm", "armed")

    def __init__(self) -> None:
        self._prompt = self._read = self._calls = 0
        self._before: float | None = None
        self.armed = False  # an edit is being judged
        self.alarm: dict[str, object] | None = None  # {before, after}: the last edit made it fall

    def edited(self) -> None:
        """A new configuration is in force."""
        if self._calls >= CALLS or self._before is None:
            self._before = self._read / self._prompt if self._prompt else None
        self._prompt = self._read = self._calls = 0
        self.armed = self._before is not None and self._before >= WORTH
        self.alarm = None

    def observe(self, usage: Usage) -> bool:
        """One settled call; True when it completes the proof that the hit rate has fallen."""
        self._calls += 1
        self._prompt += usage.input_total
        self._read += usage.cache_read or 0
        if not self.armed or self._calls < CALLS or not self._prompt:
            return False
        self.armed = False
        after = self._read / self._prompt
        assert self._before is not None
        if after >= self._before * FALLEN:
            return False
        self.alarm = {"before": round(self._before, 4), "after": round(after, 4)}
        return True
