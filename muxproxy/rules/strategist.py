"""Which of an alias's candidates come first.

`Strategist` is the seam for the real strategies; `Heuristic` is what is there without them. It
says honestly what it did: a strategy that it cannot do is reported as `heuristic`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from muxproxy.config.model import Strategy
from muxproxy.exchange import Ask, Target

Targets = tuple[Target, ...]
Detect = Callable[[str], str | None]


class Pools(msgspec.Struct, frozen=True):
    """An alias's candidates: of `cheap`, of `strong`, and one entry per item of `models`."""

    cheap: Targets = ()
    strong: Targets = ()
    models: tuple[Targets, ...] = ()

    @property
    def listed(self) -> Targets:
        """`models` in the order written."""
        return tuple(target for one in self.models for target in one)


class Ordered(msgspec.Struct, frozen=True):
    """Candidates in order; `strategy` is what was really done, `reason` why."""

    candidates: Targets
    strategy: str
    reason: str


class Strategist(Protocol):
    """Orders the candidates of a strategy alias. Pure: no clock, no I/O."""

    def order(self, alias: str, spec: Strategy, pools: Pools, ask: Ask, detect: Detect) -> Ordered:
        """`detect(name)` is what detector `name` saw in the last user text, or None."""


class Heuristic:
    """Code and complex texts to the strong candidates first, the rest to the cheap ones first.

    `cheapest`, `fastest` and `weighted` keep the order in which they are listed.
    """

    def order(self, alias: str, spec: Strategy, pools: Pools, ask: Ask, detect: Detect) -> Ordered:
        """See Strategist."""
        if not pools.cheap and not pools.strong:
            return Ordered(pools.listed, "listed", f"{alias} in the order listed")
        saw = detect("complex") or detect("code")
        if saw is not None:
            candidates = pools.strong + pools.cheap
            return Ordered(candidates, "heuristic", f"{alias}: strong first, text has {saw}")
        candidates = pools.cheap + pools.strong
        return Ordered(candidates, "heuristic", f"{alias}: cheap first, neither code nor complex")
