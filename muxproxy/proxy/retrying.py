"""The retry budget: repeated tries add at most a fifth to the load, however much fails."""

from __future__ import annotations

from collections.abc import Callable

SHARE = 0.2
RESERVE = 10.0  # tries that are there from the start, so that a quiet sidecar may repeat at all


class RetryBudget:
    """Filled by requests, emptied by repeated tries and hedges.

    The next candidate is no repeated try: it bears the load of one that does not answer, and
    circuit breakers bound how often that one is asked.
    """

    __slots__ = ("_counted", "_left", "_seen")

    def __init__(self, counted: Callable[[], int]) -> None:
        """`counted()` is how many requests there have been."""
        self._counted = counted
        self._seen = counted()
        self._left = RESERVE

    def take(self) -> bool:
        """Whether one more is affordable; it is taken then."""
        now = self._counted()
        self._left = min(self._left + (now - self._seen) * SHARE, RESERVE + 100)
        self._seen = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def give_back(self) -> None:
        """The one that was taken is not made after all."""
        self._left += 1.0
