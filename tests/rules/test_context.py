"""What is worked out lazily, and once."""

from __future__ import annotations

from muxproxy.exchange import Caller
from muxproxy.rules.context import Context, NoBudgets, no_text
from tests.rules.support import NOON, ask


def test_texts_and_dates_are_kept():
    c = Context(Caller(), ask(text="Über"), [], NOON, NoBudgets(), no_text)
    assert c.text("text") is c.text("text")
    assert c.text("text").folded == "über"
    assert c.text("all_text").bounded == ""
    assert c.date("UTC") is c.date("UTC")
    assert c.date("Asia/Tokyo").hour == 21


def test_without_budgets_nothing_is_known():
    assert NoBudgets().share("any", Caller(), ask()) is None
