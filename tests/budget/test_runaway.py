"""The guard against agents in a loop."""

from __future__ import annotations

import pytest

from muxproxy.budget.runaway import REMEMBERED, Runaway
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller
from tests.budget.support import DOLLAR, NOW

RUN = Caller(key="k", run="r1")


def test_the_same_request_again_and_again_is_stopped() -> None:
    guard = Runaway(repeats=3)
    for _ in range(3):
        guard.check(RUN, 7, NOW)
    with pytest.raises(MuxError) as caught:
        guard.check(RUN, 7, NOW)
    assert caught.value.status == 429
    assert "4 times in a row" in caught.value.message
    assert (b"x-should-retry", b"false") in caught.value.headers
    guard.check(RUN, 8, NOW)
    guard.check(RUN, 7, NOW)


def test_dollars_per_minute() -> None:
    guard = Runaway(per_minute=DOLLAR)
    guard.check(RUN, 1, NOW)
    guard.spent(RUN, DOLLAR, NOW)
    guard.spent(RUN, None, NOW)
    with pytest.raises(MuxError, match="within a minute"):
        guard.check(RUN, 2, NOW + 59)
    guard.check(RUN, 2, NOW + 60)


def test_runs_and_keys_are_apart_and_bounded() -> None:
    guard = Runaway(repeats=1)
    guard.check(RUN, 1, NOW)
    guard.check(Caller(key="k"), 1, NOW)
    guard.check(Caller(key="r1"), 1, NOW)
    for i in range(REMEMBERED + 5):
        guard.check(Caller(run=str(i)), 1, NOW)
    assert len(guard._runs) == REMEMBERED


def test_without_bounds_it_counts_nothing() -> None:
    guard = Runaway()
    for _ in range(9):
        guard.check(RUN, 1, NOW)
    guard.spent(RUN, DOLLAR, NOW)
    assert not guard._runs
