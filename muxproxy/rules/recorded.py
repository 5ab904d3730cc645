"""Deciding about calls of the past, of which the ledger keeps numbers and no text.

A rule that asks for what is not stored (the text, a header) cannot be tested again. Whoever
replays knows more: whether that rule took effect then. It is asked through `Memory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from muxproxy.exchange import Ask, Caller
from muxproxy.rules.context import BudgetView, Context, Text, no_text


class Unstored(Exception):
    """A test asked for `what`, which is not stored."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not stored")
        self.what = what


class Memory(Protocol):
    """What is remembered of one call."""

    def settle(self, rule: str, missing: Unstored) -> str | None:
        """Why the rule took effect then, or None when it did not. Raises `missing` when nobody
        knows."""


class RecordedContext(Context):
    """One call of the past."""

    __slots__ = ()

    def __init__(self, caller: Caller, ask: Ask, now: float, budgets: BudgetView) -> None:
        headers: Any = _NoHeaders()
        super().__init__(caller, ask, headers, now, budgets, no_text)

    def text(self, field: str) -> Text:
        """Not stored."""
        raise Unstored(field)


class _NoHeaders:
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        raise Unstored("a header")
