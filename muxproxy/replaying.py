"""Recorded traffic through another configuration: where would it go, what would it cost?

The rules, aliases, candidates, prices and budgets are those that live calls meet; only time is
the record's. Nothing is sent. What the ledger does not keep (texts, headers) is taken from what
happened then, where that says it; else the call is *undecided* and counted as it was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from muxproxy import exchange as words
from muxproxy.budget import Call, Downgrade, estimate
from muxproxy.config.model import Config, Rule
from muxproxy.dialects.paths import Route
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Caller, Plan, Receipt, Target
from muxproxy.prices import FREE, Price
from muxproxy.proxy import Exchange, Proxy
from muxproxy.proxy.candidates import usable
from muxproxy.proxy.features import Features
from muxproxy.rules import RecordedContext, Unstored, Verdict

_features = msgspec.json.Decoder(Features).decode
_MOST_DOWNGRADES = 3
# Budgets held for the calls of the past are given back at once, so only what was spent counts.


class Outcome(msgspec.Struct):
    """One call, then and now. `now` and `then` are provider/model, or why it was refused."""

    receipt: Receipt
    then: str
    now: str
    then_cost: int | None
    now_cost: int | None
    then_rule: str | None
    now_rule: str | None
    reason: str
    undecided: str | None = None

    @property
    def changed(self) -> bool:
        """It would go elsewhere."""
        return self.then != self.now


class Sum(msgspec.Struct):
    """Calls and money of one rule or one model, then and now."""

    then_calls: int = 0
    now_calls: int = 0
    then_nano: int = 0
    now_nano: int = 0


class Summary:
    """Everything added up."""

    def __init__(self) -> None:
        self.calls = self.changed = 0
        self.total = Sum()
        self.by_model: defaultdict[str, Sum] = defaultdict(Sum)
        self.by_rule: defaultdict[str, Sum] = defaultdict(Sum)
        self.undecided: Counter[str] = Counter()
        self.unpriced = 0

    def add(self, one: Outcome) -> None:
        """One more call."""
        self.calls += 1
        self.changed += one.changed
        if one.undecided is not None:
            self.undecided[one.undecided] += 1
        sent = not one.now.startswith(REFUSED)
        self.unpriced += sent and one.now_cost is None
        then, now = one.then_cost or 0, one.now_cost or 0
        for group, before, after in (
            (self.by_model, one.then, one.now),
            (self.by_rule, one.then_rule or "-", one.now_rule or "-"),
        ):
            group[before].then_calls += 1
            group[before].then_nano += then
            group[after].now_calls += 1
            group[after].now_nano += now
        self.total.then_nano += then
        self.total.now_nano += now
        self.total.then_calls += not one.then.startswith(REFUSED)
        self.total.now_calls += sent


REFUSED = "refused: "


class Replay:
    """`proxy` is an offline one of the candidate; `base` the configuration then in force."""

    def __init__(self, proxy: Proxy, base: Config) -> None:
        self._proxy = proxy
        self._snapshot = proxy.snapshot
        self._memory = _Memory(base.rules, self._snapshot.config.rules)
        self._keys = {key.name: key for key in self._snapshot.config.keys}
        self._scope: dict[str, Any] = {
            "method": "POST", "path": "", "headers": [], "query_string": b"", "extensions": None,
        }  # fmt: skip
        self._headers: Any = _NoHeaders()

    def outcomes(self, calls: Iterable[Receipt]) -> Iterator[Outcome]:
        """Each call that asked for something, oldest first."""
        for receipt in calls:
            if receipt.features is not None and receipt.endpoint in words.INSPECTED:
                yield self._one(receipt)

    def verdicts(self, receipt: Receipt) -> list[Verdict]:
        """What each rule says to the call, as far as is known."""
        self._memory.receipt = receipt
        now = receipt.time_ms / 1000
        view = self._proxy.budgets.view(now)
        context = RecordedContext(self._caller(receipt), _ask(receipt), now, view)
        return self._snapshot.rulebook.explain_again(context, self._memory)

    def _one(self, receipt: Receipt) -> Outcome:
        then = _refusal(receipt) or f"{receipt.provider}/{receipt.model}"
        found = Outcome(
            receipt=receipt, then=then, now=then, then_cost=receipt.cost, now_cost=receipt.cost,
            then_rule=receipt.rule, now_rule=receipt.rule, reason=receipt.reason,
        )  # fmt: skip
        ask, caller = _ask(receipt), self._caller(receipt)
        now = receipt.time_ms / 1000
        self._memory.receipt = receipt
        try:
            budgets = self._proxy.budgets.view(now)
            context = RecordedContext(caller, ask, now, budgets)
            plan = self._snapshot.rulebook.decide_again(context, self._memory)
        except Unstored as missing:
            found.undecided = f"{missing.what} is not stored"
            return found
        except MuxError as error:
            found.now, found.now_cost, found.reason = REFUSED + error.code, 0, error.message
            return found
        found.now_rule, found.reason = plan.rule, plan.reason
        if plan.deny is not None:
            found.now, found.now_cost, found.reason = REFUSED + "denied_by_rule", 0, plan.deny
            return found
        try:
            self._served(found, caller, ask, plan, now)
        except MuxError as error:
            found.now, found.now_cost, found.reason = REFUSED + error.code, 0, error.message
        return found

    def _served(self, found: Outcome, caller: Caller, ask: Ask, plan: Plan, now: float) -> None:
        """Candidate by candidate, as the attempts would be. Raises MuxError."""
        exchange = self._exchange(caller, ask, plan)
        waiting = usable(exchange, plan.candidates)
        receipt = found.receipt
        if receipt.attempts > 1:  # an earlier candidate failed then, so it would have now
            tried = [t for t in waiting if f"{t.provider}/{t.model or ask.model}" == found.then]
            waiting = tried or waiting
        downgraded: frozenset[str] = frozenset()
        failure: MuxError | None = None
        while waiting:
            target = waiting.pop(0)
            call = self._call(caller, ask, plan, target, downgraded, now)
            try:
                held = self._proxy.budgets.hold(call, now)
            except MuxError as error:
                failure = failure or error
                continue
            if isinstance(held, Downgrade):
                downgraded |= {held.budget}
                if len(downgraded) > _MOST_DOWNGRADES:
                    break
                choice = self._snapshot.rulebook.resolve(held.alias, ask)
                waiting = usable(exchange, choice.candidates)
                continue
            found.now = f"{target.provider}/{target.model or ask.model}"
            found.now_cost, tokens = self._cost(found, call, target)
            held.settle(found.now_cost, tokens, now)
            return
        raise failure or MuxError("model_not_found", "no candidate is left")

    def _exchange(self, caller: Caller, ask: Ask, plan: Plan) -> Exchange:
        route = Route(dialect=ask.dialect, endpoint=ask.endpoint, path=ask.path, model=ask.model)
        exchange = Exchange(self._proxy, self._scope, None, None, route, None, {}, {})  # type: ignore[arg-type]
        exchange.caller, exchange.ask, exchange.plan = caller, ask, plan
        return exchange

    def _call(
        self,
        caller: Caller,
        ask: Ask,
        plan: Plan,
        target: Target,
        downgraded: frozenset[str],
        now: float,
    ) -> Call:
        model = target.model if target.model is not None else ask.model
        price: Price | None = FREE
        if ask.endpoint not in words.FREE:
            price = self._snapshot.prices.find(target.provider, model, int(now))
        return Call(
            caller=caller,
            ask=ask,
            plan=plan,
            target=target,
            price=price,
            estimate=estimate(ask, price, None),
            context=(caller, ask, self._headers, now),
            downgraded=downgraded,
        )

    def _cost(self, found: Outcome, call: Call, target: Target) -> tuple[int | None, int]:
        """Nano-dollars and tokens: of the usage then, else of the estimate."""
        receipt, price = found.receipt, call.price
        usage = receipt.usage
        if usage is None:
            if receipt.end != words.REFUSED:
                return 0, 0  # it failed then, and nothing was owed
            guess = call.estimate
            cost = None if price is None else price.ceiling(guess.tokens_in, guess.tokens_out)
            return cost, guess.tokens_in + guess.tokens_out
        tokens = usage.input_total + usage.output_total
        if found.now == found.then:
            return receipt.cost, tokens
        if price is not None and price.free:
            return 0, tokens
        # What another provider reported or charged for its own is nothing to go by.
        plain = msgspec.structs.replace(usage, reported_cost=None, tier=None)
        return (None if price is None else price.cost(plain)), tokens

    def _caller(self, receipt: Receipt) -> Caller:
        key = self._keys.get(receipt.caller)
        return Caller(
            key=receipt.caller,
            user=receipt.user,
            team=receipt.team if key is None else key.team,
            tags=() if key is None else tuple(key.tags),
            run=receipt.run,
            models=None if key is None or key.models is None else tuple(key.models),
        )


def _ask(receipt: Receipt) -> Ask:
    assert receipt.features is not None
    known = _features(receipt.features)
    return Ask(
        dialect=receipt.dialect or words.OPENAI,
        endpoint=receipt.endpoint or words.OTHER,
        path=receipt.path,
        model=known.model,
        model_present=known.model is not None,
        stream=receipt.stream,
        tools=known.tools,
        images=known.images,
        json=known.json,
        messages=known.messages,
        prompt_chars=known.prompt_chars,
        prompt_tokens=known.prompt_tokens,
        max_tokens=known.max_tokens,
        n=known.n,
        user=receipt.user,
        body_bytes=receipt.bytes_in,
    )


def _refusal(receipt: Receipt) -> str | None:
    if receipt.end != words.REFUSED and receipt.provider is not None:
        return None
    return f"{REFUSED}{receipt.code or receipt.status}"


class _NoHeaders:
    """For budgets with `when: {header...}`: they cover nothing here."""

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


class _Memory:
    """What a receipt says about rules that ask for what is not stored.

    Only of rules that the candidate has as they were: whether one took effect stands in the
    receipt's reason; that it did not is known where the search went on behind it.
    """

    def __init__(self, then: Iterable[Rule], now: Iterable[Rule]) -> None:
        before = {rule.name: (at, rule) for at, rule in enumerate(then)}
        self._order = {name: at for name, (at, _) in before.items()}
        self._goes_on = {name for name, (_, rule) in before.items() if rule.continue_}
        self._same = {
            rule.name
            for rule in now
            if rule.name in before and before[rule.name][1].when == rule.when
        }
        self.receipt: Receipt | None = None

    def settle(self, rule: str, missing: Unstored) -> str | None:
        """See rules.Memory."""
        receipt = self.receipt
        if receipt is None or rule not in self._same:
            raise missing
        for part in receipt.reason.split("; "):
            for start in (f"rule {rule}: ", f"shadow rule {rule}: "):
                if part.startswith(start):
                    return part.removeprefix(start)
        last = receipt.rule
        to_the_end = last is None or last in self._goes_on
        if to_the_end or self._order.get(last or "", -1) > self._order[rule]:
            return None
        raise missing
