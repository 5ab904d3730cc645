"""One budget at run time, and its counters: what is spent and held, per scope and window."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from muxproxy.budget.estimate import Estimate
from muxproxy.budget.windows import FOREVER, TOP_UP_WINDOW, Window, parse_limit, parse_window
from muxproxy.config.model import Budget
from muxproxy.exchange import Ask, Caller, Plan, Spend, Target
from muxproxy.prices import Price

BLOCK = "block"
WARN = "warn"
DOWNGRADE = "downgrade"
ANONYMOUS = "anonymous"  # who names no user shares this scope: leaving it out is no way around
CALLER_SCOPES = frozenset({"all", "key", "user", "team", "tag", "run"})
RUN_IDLE = 7 * 86_400  # a run without a call for so long is over


class Call(msgspec.Struct, kw_only=True):
    """All that a budget may look at.

    `ceiling` is the caller's own limit for this request (x-max-budget), in nano-dollars.
    `context` holds the arguments for the predicates of budgets with `when`. `downgraded` names
    budgets whose `downgrade` was acted on: they count, and refuse no more. `probe`: see `fits`.
    """

    caller: Caller
    ask: Ask
    plan: Plan
    target: Target
    price: Price | None
    estimate: Estimate
    ceiling: int | None = None
    context: tuple[Any, ...] = ()
    downgraded: frozenset[str] = frozenset()
    probe: bool = False  # only asked whether it would fit: nobody is told of it


class Event(msgspec.Struct, frozen=True):
    """Something an operator wants to hear of, at most once per window.

    kind: threshold (with `percent`), exceeded (warn let it pass), shadow (would have refused),
    overrun (a provider reported more than was held, beyond the limit).
    """

    kind: str
    budget: str
    scope: str
    limit: int
    spent: int
    dollars: bool
    percent: int = 0


class Counter:
    """One scope of one budget in one window. Both units are kept: a new limit may use the other."""

    __slots__ = (
        "account", "alert", "buckets", "end", "fired", "held_nano", "held_tokens", "label", "limit",
        "scope", "spent_nano", "spent_tokens", "start", "told", "used",
    )  # fmt: skip

    def __init__(self, account: Account, scope: str, start: int) -> None:
        self.account = account
        self.scope = scope
        self.start = start
        self.end = account.end if account.window.kind == "calendar" else FOREVER
        self.label = f"{account.name}|{scope}|{start}"
        self.spent_nano = self.spent_tokens = self.held_nano = self.held_tokens = 0
        self.limit = account.limit  # with what was topped up
        self.fired = 0  # the highest threshold told of, percent
        self.alert = FOREVER
        self.told = False  # an exceeded or shadow event went out in this window
        self.used = start
        self.buckets: deque[list[int]] | None = None  # rolling: [start, nano, tokens]

    @property
    def spent(self) -> int:
        return self.spent_nano if self.account.dollars else self.spent_tokens

    @property
    def held(self) -> int:
        return self.held_nano if self.account.dollars else self.held_tokens

    @property
    def remaining(self) -> int:
        return self.limit - self.spent - self.held

    @property
    def resets_at(self) -> int | None:
        """When it starts anew (rolling: when its oldest part falls out); None: never."""
        account = self.account
        if account.window.kind == "rolling":
            oldest = next((b[0] for b in self.buckets or () if b[1] or b[2]), None)
            return (
                None if oldest is None else oldest + account.window.length + account.window.bucket
            )
        return self.end if self.end < FOREVER else None

    def book(self, nano: int, tokens: int, now: float) -> Spend:
        """Adds a settled call, telling of thresholds it crossed."""
        self.spent_nano += nano
        self.spent_tokens += tokens
        if self.buckets is not None:
            self.turn(now)
            self.buckets[-1][1] += nano
            self.buckets[-1][2] += tokens
        account = self.account
        if (self.spent_nano if account.dollars else self.spent_tokens) >= self.alert:
            account.cross(self)
        return Spend(account.name, self.scope, self.start, nano, tokens)

    def turn(self, now: float) -> None:
        """Rolling: opens the present bucket and drops those that lie wholly outside."""
        buckets, window = self.buckets, self.account.window
        assert buckets is not None
        start = window.span(now)[0]
        if not buckets or buckets[-1][0] < start:
            buckets.append([start, 0, 0])
            self.start = start
            self.label = f"{self.account.name}|{self.scope}|{start}"
        oldest = now - window.length - window.bucket
        while buckets[0][0] <= oldest and len(buckets) > 1:
            _, nano, tokens = buckets.popleft()
            self.spent_nano -= nano
            self.spent_tokens -= tokens
            self.told = False
            self.account.refit(self)

    def owes(self) -> bool:
        return bool(self.held_nano or self.held_tokens)


class Account:
    """One budget: its terms, which a reload may change, and the counters of its present window."""

    def __init__(self, terms: Budget, now: float, tell: Callable[[Event], None] | None) -> None:
        self.counters: dict[str, Counter] = {}
        self.added: dict[str, int] = {}  # top-ups by scope, in the limit's unit
        self.tell = tell
        self.window = parse_window(terms.window, terms.tz)
        self.start, self.end = self.window.span(now)
        self.change(terms, None, now)

    def change(self, terms: Budget, when: Callable[..., bool] | None, now: float) -> None:
        """Takes new terms; what is spent and held stays. Raises ValueError on bad terms."""
        window = parse_window(terms.window, terms.tz)
        self.name = terms.name
        # A name may hold anything that YAML can write; a header may not.
        self.header_name = re.sub(rb"[^ -~]", b"?", terms.name.encode())
        self.per = terms.per
        self.limit, self.dollars = parse_limit(terms.limit)
        self.worst = terms.hold == "worst"
        self.clamp = terms.clamp
        self.shadow = terms.shadow
        self.stop_stream = terms.stop_stream and not terms.shadow
        self.alias: str | None = None
        self.on_exceed = BLOCK
        if isinstance(terms.on_exceed, dict):
            self.on_exceed, self.alias = DOWNGRADE, terms.on_exceed[DOWNGRADE]
        else:
            self.on_exceed = terms.on_exceed
        self.thresholds = sorted(terms.thresholds)
        self.when = when
        self.by_run = window.kind == "run" and terms.per != "run"
        self._recut(window, now)
        for counter in self.counters.values():
            counter.limit = self.limit + self.added.get(counter.scope, 0)
            counter.end = self.end if window.kind == "calendar" else FOREVER
            self.aim(counter)

    def _recut(self, window: Window, now: float) -> None:
        """A window cut otherwise keeps the counters that start when its own do."""
        old, self.window = self.window, window
        self.start, self.end = window.span(now)
        if (window.kind, window.bucket) != (old.kind, old.bucket):
            self.counters = {}
        elif window.kind == "calendar":
            kept = self.counters.items()
            self.counters = {scope: c for scope, c in kept if c.start == self.start}

    def scopes(self, call: Call) -> tuple[str, ...]:
        """The scopes of this budget that the call falls under; none: it is not covered."""
        per = self.per
        if per in CALLER_SCOPES:
            return self.caller_scopes(call.caller, call.plan.tags)
        if per == "rule":
            rule = call.plan.rule
            found = () if rule is None else (rule,)
        elif per == "provider":
            found = (call.target.provider,)
        else:
            found = (f"{call.target.provider}/{call.target.model or call.ask.model or ''}",)
        return self._in_run(call.caller, found) if self.by_run else found

    def caller_scopes(self, caller: Caller, tags: tuple[str, ...] = ()) -> tuple[str, ...]:
        """As `scopes`, as far as the caller alone decides; none for per model, provider, rule."""
        per = self.per
        found: tuple[str, ...] = ()
        if per == "all":
            found = ("all",)
        elif per == "key":
            found = (caller.key,)
        elif per == "user":
            found = (caller.user or ANONYMOUS,)
        elif per == "tag":
            found = tuple(dict.fromkeys(caller.tags + tags)) if tags else caller.tags
        elif per == "team":
            found = () if caller.team is None else (caller.team,)
        elif per == "run":
            found = () if caller.run is None else (caller.run,)
        return self._in_run(caller, found) if self.by_run else found

    def _in_run(self, caller: Caller, found: tuple[str, ...]) -> tuple[str, ...]:
        run = caller.run
        if run is None:
            return ()
        return (run,) if self.per == "all" else tuple([f"{scope}/{run}" for scope in found])

    def counter(self, scope: str, now: float) -> Counter:
        """The counter of `scope` in the window of `now`; time that goes backwards opens none."""
        if now >= self.end:
            self.roll(now)
        counter = self.counters.get(scope)
        if counter is None:
            counter = self.open(scope, self.start)
            if self.window.kind == "run":
                counter.start = int(now)
                counter.label = f"{self.name}|{scope}|{counter.start}"
            if self.window.bucket:
                counter.turn(now)
        elif self.window.bucket:
            counter.turn(now)
        counter.used = int(now)
        return counter

    def open(self, scope: str, start: int) -> Counter:
        """A new counter; those of earlier windows live on in the holds that stand in them."""
        counter = self.counters[scope] = Counter(self, scope, start)
        counter.limit = self.limit + self.added.get(scope, 0)
        if self.window.bucket:
            counter.buckets = deque()
        self.aim(counter)
        return counter

    def roll(self, now: float) -> None:
        """Starts the window of `now`."""
        self.start, self.end = self.window.span(now)
        if self.window.kind == "calendar":
            self.counters = {}
        elif self.window.kind == "run":
            old = now - RUN_IDLE
            kept = self.counters.items()
            self.counters = {s: c for s, c in kept if c.used > old or c.owes()}
        elif self.window.kind == "rolling":
            old = now - 2 * self.window.length
            kept = self.counters.items()
            self.counters = {s: c for s, c in kept if c.used > old or c.owes()}

    def load(self, scope: str, window: int, nano: int, tokens: int, now: float) -> None:
        """Takes up a sum from the books, if it belongs to the present window."""
        if window == TOP_UP_WINDOW:
            self.add(scope, nano if self.dollars else tokens)
            return
        kind = self.window.kind
        if kind == "rolling":
            counter = self.counters.get(scope) or self.open(scope, window)
            assert counter.buckets is not None
            bucket = next((b for b in counter.buckets if b[0] == window), None)
            if bucket is None:
                bucket = [window, 0, 0]
                counter.buckets = deque(sorted([*counter.buckets, bucket]))
            bucket[1] += nano
            bucket[2] += tokens
            counter.used = max(counter.used, window)
        elif kind == "run" or window == self.start:
            if kind == "run" and window < now - 4 * RUN_IDLE:
                return
            counter = self.counters.get(scope) or self.open(scope, window)
            counter.start = max(counter.start, window)
            counter.used = int(now)
        else:
            return
        counter.spent_nano += nano
        counter.spent_tokens += tokens
        if kind == "rolling":
            counter.turn(now)
        self.refit(counter)

    def add(self, scope: str, amount: int) -> None:
        """Raises the limit of one scope by a top-up."""
        self.added[scope] = self.added.get(scope, 0) + amount
        if (counter := self.counters.get(scope)) is not None:
            counter.limit = self.limit + self.added[scope]
            self.refit(counter)

    def refit(self, counter: Counter) -> None:
        """Takes the thresholds that stand reached as told of, and aims at the next."""
        counter.fired = max((p for p in self.thresholds if self._passed(counter, p)), default=0)
        self.aim(counter)

    def _passed(self, counter: Counter, percent: int) -> bool:
        return counter.spent * 100 >= counter.limit * percent

    def aim(self, counter: Counter) -> None:
        """Sets the amount at which the next threshold is reached."""
        for percent in self.thresholds:
            if percent > counter.fired:
                counter.alert = -(-counter.limit * percent // 100)
                return
        counter.alert = FOREVER

    def cross(self, counter: Counter) -> None:
        """Tells of every threshold that was reached, once."""
        for percent in self.thresholds:
            if percent > counter.fired and self._passed(counter, percent):
                counter.fired = percent
                self.event("threshold", counter, percent)
        self.aim(counter)

    def event(self, kind: str, counter: Counter, percent: int = 0) -> None:
        if self.tell is not None:
            self.tell(
                Event(
                    kind,
                    self.name,
                    counter.scope,
                    counter.limit,
                    counter.spent,
                    self.dollars,
                    percent,
                )
            )
