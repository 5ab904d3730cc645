"""Budgets made through the API: kept in the ledger beside those of the YAML, which they may not
rename, change or hide.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from muxproxy.budget import Budgets, budget_faults
from muxproxy.compiling import budget_predicates
from muxproxy.config import units
from muxproxy.config.model import Budget, Config
from muxproxy.errors import MuxError
from muxproxy.ledger import Ledger


class StoredBudgets:
    """The runtime's one place that changes budgets while it runs."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stored: dict[str, Budget] = {
            name: msgspec.json.decode(definition, type=Budget)
            for name, definition in ledger.budgets().items()
        }

    def names(self) -> set[str]:
        """Those made through the API."""
        return set(self._stored)

    def beside(self, config: Config) -> Config:
        """`config` with the stored budgets added; a name that the YAML uses is the YAML's."""
        taken = {budget.name for budget in config.budgets}
        more = [budget for name, budget in self._stored.items() if name not in taken]
        return msgspec.structs.replace(config, budgets=[*config.budgets, *more]) if more else config

    async def put(self, body: Any, config: Config, budgets: Budgets) -> str:
        """Create or change one; its name. Raises MuxError naming the field and the fix."""
        try:
            budget = msgspec.convert(body, Budget)
        except msgspec.ValidationError as error:
            raise MuxError("invalid_request", f"budget: {error}") from None
        self._refuse_yaml(budget.name, config)
        _check(budget, config)
        await self._ledger.put_budget(budget.name, msgspec.json.encode(budget))
        self._stored[budget.name] = budget
        self._apply(config, budgets)
        return budget.name

    async def delete(self, name: str, config: Config, budgets: Budgets) -> None:
        """Take one out; what was spent under it stays in the books. Raises MuxError."""
        self._refuse_yaml(name, config)
        if name not in self._stored:
            raise MuxError("not_found", f"no budget made through the API is named {name!r}")
        await self._ledger.put_budget(name, None)
        del self._stored[name]
        self._apply(config, budgets)

    async def top_up(
        self, name: str, scope: str, amount: str | int | float, budgets: Budgets
    ) -> None:
        """Raise one scope's limit; in the books before this returns. Raises MuxError."""
        try:
            ceiling = units.amount(amount)
        except ValueError as error:
            raise MuxError("invalid_request", f"amount: {error}") from None
        spend = budgets.top_up(name, scope, ceiling.value, time.time())
        await self._ledger.book([spend])

    def _apply(self, config: Config, budgets: Budgets) -> None:
        combined = self.beside(config)
        budgets.rebuild(combined, time.time(), predicates=budget_predicates(combined))

    def _refuse_yaml(self, name: str, config: Config) -> None:
        if any(budget.name == name for budget in config.budgets):
            raise MuxError("invalid_request", f"budget {name!r} is the YAML's: change it there")


def _check(budget: Budget, config: Config) -> None:
    """Raises MuxError for terms that could not be kept."""
    faults = [fault for _, fault in budget_faults([budget], time.time())]
    try:
        budget_predicates(msgspec.structs.replace(config, budgets=[budget]))
    except ValueError as error:
        faults.append(str(error))
    if isinstance(budget.on_exceed, dict):
        alias = budget.on_exceed.get("downgrade")
        if alias not in config.models or len(budget.on_exceed) != 1:
            faults.append(f"on_exceed: no alias of models: is named {alias!r}")
    if faults:
        raise MuxError("invalid_request", f"budget {budget.name}: {'; '.join(faults)}")
