"""The rule table compiled: Caller, Ask, headers, time and budgets in, Plan out."""

from muxproxy.rules.context import BudgetView
from muxproxy.rules.recorded import Memory, RecordedContext, Unstored
from muxproxy.rules.rulebook import Rulebook, Verdict, compile_rules, compile_when
from muxproxy.rules.strategist import Ordered, Pools, Strategist

__all__ = [
    "BudgetView",
    "Memory",
    "Ordered",
    "Pools",
    "RecordedContext",
    "Rulebook",
    "Strategist",
    "Unstored",
    "Verdict",
    "compile_rules",
    "compile_when",
]
