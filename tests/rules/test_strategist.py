"""What rules do with a strategy alias where no strategies are given."""

from __future__ import annotations

from muxproxy.config.strategies import Strategy
from muxproxy.exchange import Target
from muxproxy.rules.strategist import Listed, Pools

CHEAP, STRONG, OTHER = (Target("p", n) for n in ("cheap", "strong", "other"))


def test_cheap_ones_come_first():
    pools = Pools((CHEAP,), (STRONG,))
    found = Listed().order("auto", Strategy(strategy="hybrid"), pools, None)
    assert found.candidates == (CHEAP, STRONG)
    assert (found.strategy, found.reason) == ("listed", "auto in the order listed")


def test_lists_keep_their_order():
    pools = Pools(models=((STRONG,), (CHEAP, OTHER)))
    found = Listed().order("any", Strategy(strategy="cheapest"), pools, None)
    assert found.candidates == (STRONG, CHEAP, OTHER)
