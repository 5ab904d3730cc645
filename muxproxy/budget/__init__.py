"""Budgets: money and tokens reserved before a call and settled after it. See `budgets`.

In memory and synchronous. Persistence is the ledger's: it is handed Spend records and gives
back their sums at the start.
"""

from muxproxy.budget.accounts import Call, Event
from muxproxy.budget.budgets import Budgets, Downgrade, View, budget_faults, runaway_faults
from muxproxy.budget.estimate import Estimate, Outputs, estimate
from muxproxy.budget.held import Held
from muxproxy.budget.refusals import budget_headers
from muxproxy.budget.runaway import Runaway

__all__ = [
    "Budgets",
    "Call",
    "Downgrade",
    "Estimate",
    "Event",
    "Held",
    "Outputs",
    "Runaway",
    "View",
    "budget_faults",
    "budget_headers",
    "estimate",
    "runaway_faults",
]
