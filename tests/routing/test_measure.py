"""The measures, against values worked out by hand."""

from __future__ import annotations

import msgspec
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


def test_a_prompt_that_stands_for_many_counts_as_many() -> None:
    three = [msgspec.structs.replace(one, weight=3.0) if one is FOUR[0] else one for one in FOUR]
    many = [FOUR[0], FOUR[0], *FOUR]
    for point, same in zip(measure.curve(three), measure.curve(many), strict=True):
        assert point == pytest.approx(same)
    one, other = measure.worth(three), measure.worth(many)
    assert (one.apgr, one.saved) == (pytest.approx(other.apgr), pytest.approx(other.saved))
    assert measure.threshold(three) == measure.threshold(many) == 2


def test_the_threshold_keeps_the_quality() -> None:
    assert measure.threshold(FOUR) == 2  # 0.95 is reached within the third
    assert measure.threshold([item(1, 1, 1), item(2, 1, 1)]) == 2  # cheap is as good
    assert measure.threshold([item(1, 0, 1), item(2, 0, 1)]) == 1


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
