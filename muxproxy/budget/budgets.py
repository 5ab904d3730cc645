"""All budgets: reserve over every one that covers a call in one step, or not at all.

One process, one loop: `hold` runs without an await, so between its check and its booking nothing
else happens. That is the whole of the concurrency control.

    held = budgets.hold(Call(caller=, ask=, plan=, target=, price=, estimate=), now)
        -> Held          reserved; forward the call (with held.max_tokens where it is set)
        -> Downgrade     plan again with `alias`, and hold with Call.downgraded = {budget, ...}
        raises MuxError  402 budget_exceeded or unknown_price: nothing was reserved
    spends = held.settle(cost, tokens, now)      once, on every way out; the ledger books them
    held.release()                               instead, when nothing was sent upstream

Amounts are integers: nano-dollars, or tokens. Times are Unix seconds and are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from muxproxy.budget.accounts import DOWNGRADE, WARN, Account, Call, Counter, Event
from muxproxy.budget.estimate import Outputs
from muxproxy.budget.held import Held
from muxproxy.budget.refusals import above_ceiling, exceeded, status_row, unknown_price
from muxproxy.budget.runaway import Runaway
from muxproxy.budget.windows import PREPAID_WINDOW, TOP_UP_WINDOW
from muxproxy.config.model import Budget, Config, RunawayGuard
from muxproxy.errors import MuxError
from muxproxy.exchange import FREE as FREE_ENDPOINTS
from muxproxy.exchange import INSPECTED, Ask, Caller, Spend
from muxproxy.prices import Price, price_of
from muxproxy.prices.overrides import parse_rate

LEAST_CLAMP = 16  # some APIs take no max_tokens below 16, and fewer are not worth the prompt
Predicate = Callable[..., bool]
Row = tuple[str, str, int, int, int]  # budget, scope, window, nano, tokens


class Downgrade(msgspec.Struct, frozen=True):
    """The verdict of a budget with `on_exceed: {downgrade: ALIAS}`. Nothing is reserved."""

    alias: str
    budget: str
    error: MuxError


class Budgets:
    """The budgets of the YAML and what is spent and held under them.

    `rows` are the books' sums; `predicates` are the compiled `when` of budgets by name, called
    as `predicate(*call.context)`; `tell` hears events. `outputs` learns the models' output.
    """

    def __init__(
        self,
        config: Config,
        rows: Iterable[Row],
        now: float,
        *,
        predicates: Mapping[str, Predicate] | None = None,
        tell: Callable[[Event], None] | None = None,
    ) -> None:
        self.outputs = Outputs()
        self.open: set[Held] = set()
        self.guard: Runaway | None = None  # against agents in a loop; None: nobody is watched
        self._tell = tell
        self._known: dict[str, Account] = {}  # also those that a reload took out
        self._active: tuple[Account, ...] = ()
        self._clamping: tuple[Account, ...] = ()
        self.rebuild(config, now, predicates=predicates)
        for name, scope, window, nano, tokens in rows:
            if (account := self._known.get(name)) is not None:
                account.load(scope, window, nano, tokens, now)

    def rebuild(
        self, config: Config, now: float, *, predicates: Mapping[str, Predicate] | None = None
    ) -> None:
        """Takes new terms after a reload; what is spent and held stays, open holds too.

        Raises ValueError on bad terms, before anything changed.
        """
        for terms in config.budgets:
            Account(terms, now, None)
        self._unknown = {
            name: _policy(provider.unknown_price, config.unknown_price)
            for name, provider in config.providers.items()
        }
        self._default = _policy(None, config.unknown_price)
        if config.runaway is None:
            self.guard = None
        else:
            self.guard = self.guard or Runaway()
            self.guard.change(config.runaway)
        active = []
        for terms in config.budgets:
            account = self._known.get(terms.name)
            if account is None:
                account = self._known[terms.name] = Account(terms, now, self._tell)
            account.change(terms, (predicates or {}).get(terms.name), now)
            active.append(account)
        self._active = tuple(active)
        self._clamping = tuple(a for a in active if a.clamp and not a.shadow)

    def hold(self, call: Call, now: float) -> Held | Downgrade:
        """Reserves `call` under every budget that covers it, or under none.

        Raises MuxError budget_exceeded or unknown_price (402).
        """
        price = call.price
        if call.ask.endpoint in FREE_ENDPOINTS or (not self._active and call.ceiling is None):
            return Held(call, price, now, None)
        counters = self._counters(call, now)
        if price is None:
            price = self._assume(call, counters)
        held = Held(call, price, now, self.open.discard)
        if self._clamping and price is not None and not price.free:
            self._clamp(held, counters)
        if (verdict := self._reserve(held, counters)) is not None:
            return verdict
        self.open.add(held)
        return held

    def fits(self, call: Call, now: float) -> bool:
        """Would `hold` reserve this call? For the alternatives of a refusal."""
        try:
            held = self.hold(msgspec.structs.replace(call, probe=True), now)
        except MuxError:
            return False
        if isinstance(held, Downgrade):
            return False
        held.release()
        return True

    def covering(self, call: Call, now: float) -> list[Counter]:
        """The counters that `hold` would look at."""
        return self._counters(call, now)

    def _counters(self, call: Call, now: float) -> list[Counter]:
        found = []
        for account in self._active:
            if account.when is not None and not account.when(*call.context):
                continue
            for scope in account.scopes(call):
                found.append(account.counter(scope, now))
        return found

    def _assume(self, call: Call, counters: list[Counter]) -> Price | None:
        """What `unknown_price` says, which is in force only where dollars are counted."""
        counting = [c.account for c in counters if c.account.dollars and not c.account.shadow]
        if not counting and call.ceiling is None:
            return None
        policy = self._unknown.get(call.target.provider, self._default)
        if policy == "deny":
            raise unknown_price(call, counting[0].name if counting else "x-max-budget")
        return policy if isinstance(policy, Price) else None

    def _clamp(self, held: Held, counters: list[Counter]) -> None:
        """Lowers the output to what the clamping budgets still afford."""
        if held.call.ask.endpoint not in INSPECTED:
            return  # its body is not edited
        est = held.estimate
        most = est.worst_out
        for counter in counters:
            if counter.account.clamp and not counter.account.shadow:
                most = min(most, held.affordable(counter, 0, 0))
        each = most // est.n
        if most >= est.worst_out or each < LEAST_CLAMP:
            return
        held.max_tokens = each
        out = each * est.n
        held.estimate = msgspec.structs.replace(
            est, tokens_out=min(est.tokens_out, out), worst_out=out
        )

    def _reserve(self, held: Held, counters: list[Counter]) -> Downgrade | None:
        call, price, est = held.call, held.rate, held.estimate
        free = price is not None and price.free
        nano = worst = 0
        if price is None:
            nano = worst = 1  # not free: an exhausted budget is exhausted for it too
        elif not free:
            nano = price.ceiling(est.tokens_in, est.tokens_out)
            if call.ceiling is not None and nano > call.ceiling:
                raise above_ceiling(call.ceiling, nano)
        tokens = est.tokens_in + est.tokens_out
        entries = held.entries
        for counter in counters:
            account = counter.account
            if account.worst:
                if not worst and price is not None and not free:
                    worst = price.ceiling(est.worst_in, est.worst_out, worst=True)
                entry = (counter, worst, est.worst_in + est.worst_out)
            else:
                entry = (counter, nano, tokens)
            if account.dollars:
                if free:
                    continue
                left = counter.limit - counter.spent_nano - counter.held_nano
                need = entry[1]
            else:
                left = counter.limit - counter.spent_tokens - counter.held_tokens
                need = entry[2]
            if need > left:
                verdict = self._refuse(held, counter, need)
                if verdict is not None:
                    return verdict
            entries.append(entry)
        stops = False
        for counter, held_nano, held_tokens in entries:
            counter.held_nano += held_nano
            counter.held_tokens += held_tokens
            stops = stops or counter.account.stop_stream
        if stops:
            held.allowance = est.tokens_out
        return None

    def _refuse(self, held: Held, counter: Counter, need: int) -> Downgrade | None:
        """Raises, or says what else; None: the budget lets it pass."""
        account, call = counter.account, held.call
        if account.shadow or account.on_exceed == WARN:
            if not counter.told and not call.probe:
                counter.told = True
                account.event("shadow" if account.shadow else "exceeded", counter)
            held.warned += (account.name,)
            return None
        if account.on_exceed == DOWNGRADE and account.alias is not None:
            if account.name in call.downgraded:
                held.warned += (account.name,)
                return None
            return Downgrade(account.alias, account.name, exceeded(counter, need, call))
        raise exceeded(counter, need, call)

    def top_up(self, name: str, scope: str, amount: int, now: float) -> Spend:
        """Raises the limit of one scope by `amount` (the budget's unit) and keeps its usage.

        Returns the record for the books. Raises MuxError not_found.
        """
        account = next((a for a in self._active if a.name == name), None)
        if account is None:
            raise MuxError("not_found", f"No budget is named {name!r}.")
        account.counter(scope, now)
        account.add(scope, amount)
        nano, tokens = (amount, 0) if account.dollars else (0, amount)
        return Spend(name, scope, TOP_UP_WINDOW, nano, tokens)

    def status(self, now: float) -> list[dict[str, object]]:
        """Where every scope of every budget stands. An unused scope shows for `per: all` only."""
        rows = []
        for account in self._active:
            if account.per == "all" and not account.by_run:
                account.counter("all", now)
            elif now >= account.end:
                account.roll(now)
            for counter in list(account.counters.values()):
                if counter.buckets is not None:
                    counter.turn(now)
                rows.append(status_row(counter))
        return rows

    def view(self, now: float) -> View:
        """What rules may ask of the budgets at `now`."""
        return View(self, now)

    def fullest(self, name: str, caller: Caller, now: float) -> Counter | None:
        """The counter of the budget `name` for this caller; of several tags the fullest.

        None: no such budget, it does not count this caller, or it has no scope before a plan
        exists (`per: model`, `provider`, `rule`).
        """
        account = self._known.get(name)
        if account is None or account not in self._active:
            return None
        best: Counter | None = None
        for scope in account.caller_scopes(caller):
            counter = account.counter(scope, now)
            used = counter.spent + counter.held
            if best is None or used * best.limit > (best.spent + best.held) * counter.limit:
                best = counter
        return best

    def sums(self) -> Iterator[tuple[str, str, int, int, int]]:
        """(budget, scope, window, nano, tokens) of every counter, as the books have them."""
        for account in self._known.values():
            for counter in account.counters.values():
                for start, nano, tokens in counter.buckets or (
                    [counter.start, counter.spent_nano, counter.spent_tokens],
                ):
                    yield account.name, counter.scope, start, nano, tokens


class View:
    """The budgets at one moment, for rules (`when: {budget.NAME: "> 80%"}`)."""

    __slots__ = ("_budgets", "_now")

    def __init__(self, budgets: Budgets, now: float) -> None:
        self._budgets = budgets
        self._now = now

    def share(self, name: str, caller: Caller, ask: Ask) -> float | None:
        """Spent and held in this caller's scope as a part of the limit (0.8 is 80 %).

        None: see `fullest`.
        """
        counter = self._budgets.fullest(name, caller, self._now)
        if counter is None:
            return None
        return (counter.spent + counter.held) / counter.limit if counter.limit else 1.0


def _policy(own: Any, default: Any) -> Price | str:
    """`unknown_price` of a provider: deny, allow, or the price it assumes."""
    policy = default if own is None else own
    if isinstance(policy, str):
        return policy
    raw = {kind: parse_rate(kind, value) for kind, value in policy.items()}
    return price_of({"output": raw.get("input", 0), **raw}, name="assumed", assumed=True)


def budget_faults(budgets: Iterable[Budget], now: float) -> Iterator[tuple[str, str]]:
    """(path in the YAML, what is wrong), for every budget whose terms cannot be read."""
    for i, terms in enumerate(budgets):
        try:
            Account(terms, now, None)
        except ValueError as error:
            yield f"budgets.{i}", str(error)


def runaway_faults(terms: RunawayGuard | None) -> Iterator[tuple[str, str]]:
    """The same for `runaway:`."""
    if terms is not None:
        try:
            Runaway().change(terms)
        except ValueError as error:
            yield "runaway", str(error)


__all__ = ["PREPAID_WINDOW", "Budgets", "Downgrade", "Predicate", "Row", "View", "budget_faults"]
