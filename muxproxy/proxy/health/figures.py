"""The live figures of one provider and model."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from muxproxy.proxy.health.circuit import Circuit

KEPT = 128  # first-byte times
ENOUGH = 20  # of them, before a percentile is told
_WEIGHT = 0.1


class Live:
    """Written by the exchanges on their way, read by whoever balances or explains."""

    __slots__ = ("_at", "_samples", "circuit", "ewma_us", "in_flight", "model", "peak_us", "whole")

    def __init__(self, model: str) -> None:
        self.model = model
        self.in_flight = 0
        self.ewma_us = 0.0
        self.peak_us = 0.0  # jumps up at once, comes down slowly
        self.circuit: Circuit | None = None
        # JSON answers to rules that hedge: streams and token counts begin far sooner.
        self.whole: deque[int] | None = None
        self._samples: list[int] = []
        self._at = 0

    def observe(self, us: int) -> None:
        """The first byte came after so many microseconds."""
        if not self.ewma_us:
            self.ewma_us = self.peak_us = us
        else:
            self.ewma_us += (us - self.ewma_us) * _WEIGHT
            self.peak_us = us if us > self.peak_us else self.peak_us + (us - self.peak_us) * _WEIGHT
        samples = self._samples
        if len(samples) < KEPT:
            samples.append(us)
        else:
            samples[self._at] = us
            self._at = (self._at + 1) % KEPT

    def percentile(self, part: float) -> float | None:
        """Seconds; None while too little is known."""
        return _percentile(self._samples, part)

    def observe_whole(self, us: int) -> None:
        """A JSON answer began after so many microseconds."""
        if self.whole is None:
            self.whole = deque(maxlen=KEPT)
        self.whole.append(us)

    def percentile_whole(self, part: float) -> float | None:
        """As `percentile`, of JSON answers."""
        return None if self.whole is None else _percentile(self.whole, part)


def _percentile(samples: Collection[int], part: float) -> float | None:
    if len(samples) < ENOUGH:
        return None
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] / 1e6
