"""What one request shows to the rules: who, what, when, and what the budgets say.

Everything dear (words of a text, the whole conversation, a calendar date) is worked out on first
use and once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from muxproxy.exchange import INSPECTED, Ask, Caller
from muxproxy.headers import Headers
from muxproxy.rules.detectors import BOUND, Reading, bounded

AllText = Callable[[Ask], str]


class BudgetView(Protocol):
    """What the rules may ask of the budgets."""

    def share(self, name: str, caller: Caller, ask: Ask) -> float | None:
        """Spent and held of budget `name` in this caller's scope, as a part of its limit (0.8 is
        80 %; may exceed 1); None: no such budget, or it does not count this caller."""


class NoBudgets:
    """For configurations without budgets, and tests."""

    def share(self, name: str, caller: Caller, ask: Ask) -> float | None:
        """Unknown."""
        return None


def no_text(ask: Ask) -> str:
    """For callers without a conversation at hand."""
    return ""


class Context:
    """One request under decision. `now` is Unix seconds; `tags` those of the caller and of the
    rules that took effect so far; `inspected`: the body was read."""

    __slots__ = (
        "_all_text",
        "_dates",
        "_texts",
        "ask",
        "budgets",
        "caller",
        "headers",
        "inspected",
        "now",
        "tags",
    )

    def __init__(
        self,
        caller: Caller,
        ask: Ask,
        headers: Headers,
        now: float,
        budgets: BudgetView,
        all_text: AllText,
    ) -> None:
        self.caller = caller
        self.ask = ask
        self.headers = headers
        self.now = now
        self.budgets = budgets
        self.tags: Sequence[str] = caller.tags
        self.inspected = ask.endpoint in INSPECTED
        self._all_text = all_text
        self._texts: dict[str, Text] | None = None
        self._dates: dict[str, datetime] | None = None

    def text(self, field: str) -> Text:
        """ "text" (last user-authored) or "all_text" (the whole conversation)."""
        if self._texts is None:
            self._texts = {}
        found = self._texts.get(field)
        if found is None:
            value = self.ask.text if field == "text" else self._all_text(self.ask)
            found = self._texts[field] = Text(value)
        return found

    def date(self, zone: str) -> datetime:
        """`now` on the clocks of that IANA zone."""
        if self._dates is None:
            self._dates = {}
        found = self._dates.get(zone)
        if found is None:
            found = self._dates[zone] = datetime.fromtimestamp(self.now, ZoneInfo(zone))
        return found


class Text:
    """One text in the forms that tests need."""

    __slots__ = ("_folded", "bounded", "reading")

    def __init__(self, text: str) -> None:
        self.reading = Reading(text)
        self.bounded = bounded(text, BOUND)
        self._folded: str | None = None

    @property
    def folded(self) -> str:
        """Without regard to case."""
        if self._folded is None:
            self._folded = self.bounded.casefold()
        return self._folded
