"""Requests, tokens and concurrency per scope, over a sliding window.

    ticket = limits.admit(call, now)    reserve under every limit that covers the call, or none
    ticket.enter(call, now)             for a further candidate: its provider's and model's limits
    ticket.settle(tokens, now)          once, on every way out
    ticket.release()                    instead, when nothing was sent

Tokens are reserved at admission and corrected at the end, so calls in flight count, streams too.
The window is kept in 60 parts and a part counts until it lies wholly outside: no stretch of one
window's length ever holds more than the limit. Synchronous, in memory; Unix seconds are passed in.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Protocol

from muxproxy.config.model import Limit
from muxproxy.errors import MuxError
from muxproxy.exchange import Ask, Caller, Plan, Target

PARTS = 60
SCOPES = 4096  # scopes after which idle ones are dropped
_CALLER_SCOPES = frozenset({"all", "key", "user", "team", "run"})
_RATE = re.compile(r"([\d._]+)\s*([kKmM]?)\s*(?:/|per)\s*([a-z]+)")
_UNITS = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("m", "min", "minute"), 60),
    **dict.fromkeys(("h", "hr", "hour"), 3600),
    **dict.fromkeys(("d", "day"), 86_400),
}
_SCALE = {"": 1, "k": 1000, "m": 1_000_000}


def parse_rate(text: str) -> tuple[int, int]:
    """(count, seconds) of "600/min" or "200k/hour". Raises ValueError saying what was expected."""
    found = _RATE.fullmatch(text.strip())
    if not found or found[3] not in _UNITS:
        raise ValueError(f"expected a rate such as 600/min, 200k/hour or 1M/day, got {text!r}")
    return int(Decimal(found[1].replace("_", "")) * _SCALE[found[2].lower()]), _UNITS[found[3]]


def limit_faults(limits: Iterable[Limit]) -> Iterator[tuple[str, str]]:
    """(path in the YAML, what is wrong), for every limit that cannot be read."""
    for i, limit in enumerate(limits):
        for kind in ("requests", "tokens"):
            if (text := getattr(limit, kind)) is not None:
                try:
                    parse_rate(text)
                except ValueError as error:
                    yield f"limits.{i}.{kind}", str(error)


class _Tokens(Protocol):
    @property
    def tokens_in(self) -> int: ...
    @property
    def tokens_out(self) -> int: ...
    @property
    def worst_out(self) -> int: ...


class LimitedCall(Protocol):
    """What limits look at; a budget's Call is one."""

    @property
    def caller(self) -> Caller: ...
    @property
    def ask(self) -> Ask: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def target(self) -> Target: ...
    @property
    def estimate(self) -> _Tokens: ...


class _Log:
    """What was used lately: [start of part, amount], and what is reserved on top."""

    __slots__ = ("parts", "reserved", "seconds", "total", "width")

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.width = seconds / PARTS
        self.parts: deque[list[float]] = deque()
        self.total = 0
        self.reserved = 0

    def used(self, now: float) -> int:
        parts = self.parts
        oldest = now - self.seconds - self.width
        while parts and parts[0][0] <= oldest:
            self.total -= int(parts.popleft()[1])
        return self.total + self.reserved

    def add(self, amount: int, now: float) -> None:
        start = now // self.width * self.width
        if self.parts and self.parts[-1][0] >= start:
            self.parts[-1][1] += amount
        else:
            self.parts.append([start, amount])
        self.total += amount

    def wait(self, amount: int, limit: int, now: float) -> float:
        """Seconds until `amount` more fits, as far as what is in flight lets one say."""
        over = self.total + self.reserved + amount - limit
        for start, used in self.parts:
            over -= int(used)
            if over <= 0:
                return max(start + self.width + self.seconds - now, 0.001)
        return 1.0  # only what is in flight stands in the way

    def reset(self, now: float) -> float:
        """Seconds until all of it has fallen out."""
        if not self.parts:
            return 0.0
        return max(self.parts[-1][0] + self.width + self.seconds - now, 0.0)


class _Meter:
    """One scope of one limit."""

    __slots__ = ("flying", "requests", "rule", "scope", "tokens")

    def __init__(self, rule: _Rule, scope: str) -> None:
        self.rule = rule
        self.scope = scope
        self.flying = 0
        self.requests = _Log(rule.requests[1]) if rule.requests else None
        self.tokens = _Log(rule.tokens[1]) if rule.tokens else None

    def idle(self, now: float) -> bool:
        logs = (self.requests, self.tokens)
        return not self.flying and all(log is None or not log.used(now) for log in logs)


class _Rule:
    """One `limits:` entry and its meters."""

    __slots__ = ("by_caller", "concurrent", "meters", "name", "per", "requests", "tokens")

    def __init__(self, limit: Limit) -> None:
        self.name = limit.name
        self.per = limit.per
        self.by_caller = limit.per in _CALLER_SCOPES
        self.requests = parse_rate(limit.requests) if limit.requests else None
        self.tokens = parse_rate(limit.tokens) if limit.tokens else None
        self.concurrent = limit.concurrent
        self.meters: dict[str, _Meter] = {}

    def keep(self, old: _Rule) -> None:
        """Takes over the counts of the same limit before a reload."""
        if (old.per, _seconds(old)) != (self.per, _seconds(self)):
            return
        self.meters = old.meters
        for meter in self.meters.values():
            meter.rule = self

    def meter(self, scope: str, now: float) -> _Meter:
        meter = self.meters.get(scope)
        if meter is None:
            if len(self.meters) >= SCOPES:
                self.meters = {s: m for s, m in self.meters.items() if not m.idle(now)}
            meter = self.meters[scope] = _Meter(self, scope)
        return meter

    def scopes(self, call: LimitedCall) -> tuple[str, ...]:
        """The scopes of this limit that the call falls under."""
        per, caller = self.per, call.caller
        scope: str | None
        if per == "all":
            scope = "all"
        elif per == "key":
            scope = caller.key
        elif per == "user":
            scope = caller.user or "anonymous"
        elif per == "team":
            scope = caller.team
        elif per == "run":
            scope = caller.run
        elif per == "tag":
            return tuple(dict.fromkeys(caller.tags + call.plan.tags))
        elif per == "rule":
            scope = call.plan.rule
        elif per == "provider":
            scope = call.target.provider
        else:
            scope = f"{call.target.provider}/{call.target.model or call.ask.model or ''}"
        return () if scope is None else (scope,)


def _seconds(rule: _Rule) -> tuple[int | None, int | None]:
    return (
        rule.requests[1] if rule.requests else None,
        rule.tokens[1] if rule.tokens else None,
    )


class Ticket:
    """One admitted call: what it occupies, until it is settled or released (once)."""

    __slots__ = ("_closed", "_first", "_limits", "_second")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._first: list[tuple[_Meter, int]] = []
        self._second: list[tuple[_Meter, int]] = []
        self._closed = False

    def enter(self, call: LimitedCall, now: float) -> None:
        """Takes the limits of a further candidate, giving back those of the one before.

        Raises MuxError rate_limited; then the candidate is to be skipped.
        """
        _free(self._second)
        self._second = []
        self._second = _take(self._limits.by_plan, call, now)

    def swap(self, other: Ticket) -> None:
        """Changes candidates with another ticket of the same call; the caller's limits stay."""
        self._second, other._second = other._second, self._second

    def settle(self, tokens: int, now: float) -> None:
        """Ends the call, which took `tokens` in all."""
        if self._closed:
            return
        self._closed = True
        for meters in (self._first, self._second):
            _free(meters)
            for meter, _ in meters:
                if meter.tokens is not None:
                    meter.tokens.add(tokens, now)

    def release(self) -> None:
        """Ends a call that was never sent: it counts as a request and no more."""
        if self._closed:
            return
        self._closed = True
        _free(self._first)
        _free(self._second)


class Limits:
    """All limits of the YAML. Raises ValueError on a rate that cannot be read."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._rules: dict[str, _Rule] = {}
        self.by_caller: tuple[_Rule, ...] = ()
        self.by_plan: tuple[_Rule, ...] = ()
        self.rebuild(limits)

    def rebuild(self, limits: Iterable[Limit]) -> None:
        """Takes new limits after a reload; counts stay where the window did."""
        rules = {limit.name: _Rule(limit) for limit in limits}
        for name, rule in rules.items():
            if (old := self._rules.get(name)) is not None:
                rule.keep(old)
        self._rules = rules
        self.by_caller = tuple(rule for rule in rules.values() if rule.by_caller)
        self.by_plan = tuple(rule for rule in rules.values() if not rule.by_caller)

    def admit(self, call: LimitedCall, now: float) -> Ticket:
        """Reserves `call` under every limit that covers it, or under none.

        Raises MuxError rate_limited (429) with retry-after and x-ratelimit-* headers.
        """
        ticket = Ticket(self)
        if self._rules:
            first, second = self.by_caller, self.by_plan
            taken = _take(first + second, call, now)
            if not second:
                ticket._first = taken
            elif not first:
                ticket._second = taken
            else:
                ticket._first = [pair for pair in taken if pair[0].rule.by_caller]
                ticket._second = [pair for pair in taken if not pair[0].rule.by_caller]
        return ticket

    def peek(self, call: LimitedCall, now: float) -> None:
        """Raises what `admit` would, and takes nothing."""
        _take(self.by_caller + self.by_plan, call, now, dry=True)


def _take(
    rules: tuple[_Rule, ...], call: LimitedCall, now: float, *, dry: bool = False
) -> list[tuple[_Meter, int]]:
    est = call.estimate
    # With max_tokens as sent no answer takes more output than that.
    tokens = est.tokens_in + (est.tokens_out if call.ask.max_tokens is None else est.worst_out)
    taken: list[tuple[_Meter, int]] = []
    for rule in rules:
        for scope in rule.scopes(call):
            meter = rule.meter(scope, now)
            # A call larger than the whole limit passes when nothing else is in the window, or it
            # never could.
            reserve = min(tokens, rule.tokens[0]) if rule.tokens else 0
            if (
                (rule.concurrent is not None and meter.flying >= rule.concurrent)
                or (
                    meter.requests is not None
                    and rule.requests is not None
                    and meter.requests.used(now) + 1 > rule.requests[0]
                )
                or (
                    meter.tokens is not None
                    and rule.tokens is not None
                    and meter.tokens.used(now) + reserve > rule.tokens[0]
                )
            ):
                raise _refusal(meter, reserve, now)
            taken.append((meter, reserve))
    if dry:
        return []
    for meter, reserve in taken:
        meter.flying += 1
        if meter.requests is not None:
            meter.requests.add(1, now)
        if meter.tokens is not None:
            meter.tokens.reserved += reserve
    return taken


def _free(taken: list[tuple[_Meter, int]]) -> None:
    for meter, reserve in taken:
        meter.flying -= 1
        if meter.tokens is not None:
            meter.tokens.reserved -= reserve


def _refusal(meter: _Meter, reserve: int, now: float) -> MuxError:
    rule = meter.rule
    wait = 0.0
    kind, limit = "concurrent", rule.concurrent or 0
    headers: list[tuple[bytes, bytes]] = []
    if rule.concurrent is not None and meter.flying >= rule.concurrent:
        wait = 1.0
    for name, log, rate, need in (
        ("requests", meter.requests, rule.requests, 1),
        ("tokens", meter.tokens, rule.tokens, reserve),
    ):
        if log is None or rate is None:
            continue
        used = log.used(now)
        word = name.encode()
        headers += [
            (b"x-ratelimit-limit-" + word, b"%d" % rate[0]),
            (b"x-ratelimit-remaining-" + word, b"%d" % max(rate[0] - used, 0)),
            (b"x-ratelimit-reset-" + word, show_seconds(log.reset(now)).encode()),
        ]
        if used + need > rate[0]:
            kind, limit = name, rate[0]
            wait = max(wait, log.wait(need, rate[0], now))
    seconds = max(1, math.ceil(wait))
    headers.append((b"retry-after", b"%d" % seconds))
    who = "" if meter.scope == "all" else f" of {rule.per} {meter.scope!r}"
    return MuxError(
        "rate_limited",
        f"Limit {rule.name!r}{who} is reached: {limit} {kind}. Try again in {seconds} s.",
        details={
            "limit": rule.name,
            "scope": meter.scope,
            "kind": kind,
            "retry_after": seconds,
        },
        headers=headers,
    )


def show_seconds(seconds: float) -> str:
    """A duration as OpenAI's x-ratelimit-reset-* have it: "120ms", "2.05s", "6m0s", "1h0m0s"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    whole = math.ceil(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
