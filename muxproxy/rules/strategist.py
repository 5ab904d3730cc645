"""Which of an alias's candidates come first.

`Strategist` is the seam to the strategies, which stand higher up; `Listed` is what rules do where
none is given.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Learning, Target
from muxproxy.rules.context import Context

Targets = tuple[Target, ...]


LISTED = "listed"  # no strategy: in the order written


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
    """Candidates in order; `strategy` is what was really done, `reason` why.

    `judged`: so many of the first candidates have their answers judged, as `spec` says, before
    one goes to the caller. `balance`: a caller's wish that the alias of that name is balanced in
    that way, or LISTED: not at all; None: as it is configured.
    """

    candidates: Targets
    strategy: str
    reason: str
    score: float | None = None
    judged: int = 0
    spec: Strategy | None = None
    balance: tuple[str, str] | None = None
    learning: Learning | None = None


class Strategist(Protocol):
    """Orders the candidates of a strategy alias. No I/O."""

    def order(self, alias: str, spec: Strategy, pools: Pools, context: Context) -> Ordered:
        """Raises MuxError where the caller wishes for a strategy that there is not."""


class Listed:
    """Cheap ones first, the rest as listed."""

    def order(self, alias: str, spec: Strategy, pools: Pools, context: Context) -> Ordered:
        """See Strategist."""
        del spec, context
        candidates = (*pools.cheap, *pools.strong, *pools.listed)
        return Ordered(candidates, LISTED, f"{alias} in the order listed")
