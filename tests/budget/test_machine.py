"""Reserve, settle, release, extend, expire, crash and reload in any order: the books balance."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from muxproxy.budget import Budgets, Downgrade, Held
from muxproxy.config.model import Budget
from muxproxy.errors import MuxError
from muxproxy.exchange import Caller, Plan, Spend
from tests.budget.support import DOLLAR, NOW, PRICE, ask, call, config

CALLERS = [
    Caller(key="a", user="ann", tags=("x", "y"), run="r1"),
    Caller(key="b", user="ann", tags=("x",)),
    Caller(key="b", team="t"),
]


def worst(**terms: Any) -> Budget:
    return Budget(hold="worst", **terms)


class Money(RuleBasedStateMachine):
    """`hold: worst` in all budgets, and providers that report no more than was held."""

    held: Bundle[Held] = Bundle("held")

    @initialize(cents=st.integers(1, 40), stop=st.booleans())
    def start(self, cents: int, stop: bool) -> None:
        self.now = NOW
        self.stop = stop
        self.sums: Tally[tuple[str, str, int]] = Tally()
        self.tokens: Tally[tuple[str, str, int]] = Tally()
        self.ended: Tally[int] = Tally()
        self.terms = self.make(cents)
        self.budgets = Budgets(config(*self.terms), [], self.now)

    def make(self, cents: int) -> list[Budget]:
        limit = f"${cents / 100}"
        return [
            worst(name="all", limit=limit, window="prepaid", clamp=cents % 2 == 0),
            worst(name="key", per="key", limit=limit, tz="Europe/Berlin", stop_stream=self.stop),
            worst(name="tag", per="tag", limit="50k tokens", window="rolling 24h"),
            worst(name="run", per="run", limit=limit, window="run"),
        ]

    @rule(
        target=held,
        who=st.sampled_from(CALLERS),
        tokens_in=st.integers(0, 20_000),
        max_tokens=st.none() | st.integers(1, 60_000),
    )
    def reserve(self, who: Caller, tokens_in: int, max_tokens: int | None) -> Held | None:
        asked = call(ask(tokens_in, max_tokens), who, plan=Plan(tags=("y",)))
        before = {id(c): c.held for c in self.counters()}
        try:
            found = self.budgets.hold(asked, self.now)
        except MuxError as error:
            assert error.status == 402
            assert all(c.held == before.get(id(c), 0) for c in self.counters()), "or not at all"
            return None
        assert not isinstance(found, Downgrade)
        return found

    @rule(held=consumes(held), share=st.floats(0, 1), again=st.booleans())
    def settle(self, held: Held | None, share: float, again: bool) -> None:
        if held is None or held.closed:
            return
        est = held.estimate
        top = min(est.worst_out, held.allowance)
        tokens_in, tokens_out = int(est.worst_in * share), int(top * share)
        cost = PRICE.ceiling(tokens_in, tokens_out)
        self.book(held, held.settle(cost, tokens_in + tokens_out, self.now))
        if again:
            assert held.settle(cost, 5, self.now) == []
            held.release()

    @rule(held=consumes(held), twice=st.booleans())
    def release(self, held: Held | None, twice: bool) -> None:
        if held is None:
            return
        held.release()
        if twice:
            held.release()
            assert held.settle(DOLLAR, 5, self.now) == []

    @rule(held=held, further=st.integers(0, 5000))
    def stream_on(self, held: Held | None, further: int) -> None:
        if held is not None and not held.closed and held.allowance < 10**12:
            held.extend(min(held.allowance + further, held.estimate.worst_out))

    @rule(seconds=st.integers(0, 50_000))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(held=consumes(held))
    def settle_at_hold(self, held: Held | None) -> None:
        if held is not None and not held.closed:
            self.book(held, held.settle_at_hold(self.now))

    @rule(cents=st.integers(1, 40))
    def reload(self, cents: int) -> None:
        before = {id(c): (c.spent_nano, c.spent_tokens, c.held) for c in self.counters()}
        self.terms = self.make(max(cents, self.cents_in_use()))
        self.budgets.rebuild(config(*self.terms), self.now)
        after = {id(c): (c.spent_nano, c.spent_tokens, c.held) for c in self.counters()}
        assert all(before[label] == kept for label, kept in after.items())

    @rule()
    def crash(self) -> None:
        """The books settle what was held when we died; the next start reads their sums."""
        for held in list(self.budgets.open):
            self.book(held, held.settle_at_hold(self.now))
        rows = [(*key, nano, self.tokens[key]) for key, nano in self.sums.items()]
        self.budgets = Budgets(config(*self.terms), rows, self.now)

    @invariant()
    def never_over_a_limit(self) -> None:
        for counter in self.counters():
            assert counter.spent + counter.held <= counter.limit, counter.label
            assert counter.held >= 0

    @invariant()
    def what_is_held_is_what_open_holds_hold(self) -> None:
        mine: Tally[int] = Tally()
        for held in self.budgets.open:
            for counter, nano, tokens in held.entries:
                mine[id(counter)] += nano if counter.account.dollars else tokens
        for counter in self.counters():
            assert counter.held == mine[id(counter)]

    @invariant()
    def the_books_sum_to_the_counters(self) -> None:
        for name, scope, window, nano, tokens in self.budgets.sums():
            key = (name, scope, window)
            assert (self.sums[key], self.tokens[key]) == (nano, tokens), key

    def teardown(self) -> None:
        if not hasattr(self, "budgets"):
            return
        for held in list(self.budgets.open):
            held.release()
        assert all(c.held_nano == c.held_tokens == 0 for c in self.counters())
        assert not self.ended or max(self.ended.values()) == 1

    def book(self, held: Held, spends: list[Spend]) -> None:
        self.ended[id(held)] += 1
        self.keep = [*getattr(self, "keep", []), held]  # or an id could come twice
        for spend in spends:
            key = (spend.budget, spend.scope, spend.window)
            self.sums[key] += spend.nano
            self.tokens[key] += spend.tokens

    def counters(self):  # type: ignore[no-untyped-def]
        if not hasattr(self, "budgets"):
            return []
        return [c for a in self.budgets._active for c in a.counters.values()]

    def cents_in_use(self) -> int:
        """A limit lowered below what is spent is not an overspending."""
        used = [c.spent + c.held for c in self.counters() if c.account.dollars]
        return -(-max(used, default=0) * 100 // DOLLAR)


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
