"""The measures, against values worked out by hand."""

from __future__ import annotations

import pytest

from muxproxy.routing import measure
from muxproxy.routing.measure import Item


def item(score: float, cheap: float, strong: float) -> Item:
    return Item(score, cheap, strong, 1.0, 10.0, 10.0)


FOUR = [item(4, 0, 1), item(3, 1, 1), item(2, 0, 1), item(1, 1, 1)]


def test_dice_win_half_of_what_there_is() -> None:
    worth = measure.worth(measure.dice(FOUR))
    assert (worth.apgr, worth.cpt50, worth.cpt80) == (0.5, 0.5, 0.8)


def test_a_curve_by_hand() -> None:
    assert measure.curve(FOUR)[:3] == [(0.0, 0.5, 0.1), (0.25, 0.75, 0.325), (0.5, 0.75, 0.55)]
    worth = measure.worth(FOUR)
    assert worth.apgr == pytest.approx(0.25 * 0.25 + 0.25 * 0.5 + 0.25 * 0.75 + 0.25 * 1.0)
    assert worth.cpt50 == 0.25


def test_the_oracle_asks_only_where_it_pays() -> None:
    worth = measure.worth(measure.oracle(FOUR))
    assert worth.cpt80 == pytest.approx(0.4)
    assert worth.saved == pytest.approx(1 - (0.1 + 0.9 * 0.45))


def test_a_pair_without_a_gap_has_no_measure() -> None:
    worth = measure.with_interval([item(1, 1, 1), item(2, 1, 0.5)])
    assert worth.apgr is None and worth.low is None
    assert worth.saved == pytest.approx(0.9)


def test_the_interval_holds_the_measure_and_is_the_same_every_time() -> None:
    many = FOUR * 30
    worth = measure.with_interval(many)
    assert worth.low < worth.apgr < worth.high
    assert measure.with_interval(many) == worth
