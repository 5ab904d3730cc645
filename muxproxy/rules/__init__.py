"""The rule table compiled: Caller, Ask, headers, time and budgets in, Plan out."""

from muxproxy.rules.context import BudgetView
from muxproxy.rules.rulebook import Rulebook, Verdict, compile_rules, compile_when
from muxproxy.rules.strategist import Ordered, Pools, Strategist

__all__ = [
    "BudgetView",
    "Ordered",
    "Pools",
    "Rulebook",
    "Strategist",
    "Verdict",
    "compile_rules",
    "compile_when",
]
