"""Reasoning effort and thinking budgets, each in terms of the other."""

from __future__ import annotations

from muxproxy.dialects.neutral import Effort, Reasoning

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
BUDGETS: dict[str, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 63999,
}


def budget(reasoning: Reasoning) -> int | None:
    """Tokens to think with: 0 off, -1 as the model likes; None where nothing was said."""
    if reasoning.budget is not None:
        return reasoning.budget
    if reasoning.effort is not None:
        return BUDGETS[reasoning.effort]
    return -1 if reasoning.adaptive else None


def effort(reasoning: Reasoning) -> Effort | None:
    """The effort meant; None where the model is to choose. Every dialect's reasoning models know
    "low", so the smallest budgets are that and not "minimal"."""
    if reasoning.effort is not None or reasoning.budget is None or reasoning.budget < 0:
        return reasoning.effort
    if reasoning.budget == 0:
        return "none"
    for name in EFFORTS[2:]:
        if reasoning.budget <= BUDGETS[name]:
            return name
    return "max"
