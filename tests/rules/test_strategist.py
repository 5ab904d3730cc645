"""The heuristic, and how honestly it names itself."""

from __future__ import annotations

import pytest

from muxproxy.config.model import Strategy
from muxproxy.exchange import Target
from muxproxy.rules.strategist import Heuristic, Pools
from tests.rules.support import ask

CHEAP, STRONG, OTHER = (Target("p", n) for n in ("cheap", "strong", "other"))


@pytest.mark.parametrize("strategy", ["heuristic", "semantic", "cascade", "hybrid"])
@pytest.mark.parametrize(
    ("saw", "order", "reason"),
    [
        ({}, (CHEAP, STRONG), "auto: cheap first, neither code nor complex"),
        ({"code": "inline code"}, (STRONG, CHEAP), "auto: strong first, text has inline code"),
        ({"complex": "the word why"}, (STRONG, CHEAP), "auto: strong first, text has the word why"),
    ],
)
def test_cheap_and_strong(strategy, saw, order, reason):
    pools = Pools((CHEAP,), (STRONG,))
    found = Heuristic().order("auto", Strategy(strategy=strategy), pools, ask(), saw.get)
    assert found.candidates == order
    assert (found.strategy, found.reason) == ("heuristic", reason)


@pytest.mark.parametrize("strategy", ["cheapest", "fastest", "weighted"])
def test_lists_keep_their_order_and_say_so(strategy):
    pools = Pools(models=((STRONG,), (CHEAP, OTHER)))
    found = Heuristic().order("any", Strategy(strategy=strategy), pools, ask(), {}.get)
    assert found.candidates == (STRONG, CHEAP, OTHER)
    assert (found.strategy, found.reason) == ("listed", "any in the order listed")
