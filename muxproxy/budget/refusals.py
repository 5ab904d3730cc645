"""What a caller is told: the 402s, the headers, and the table of where the budgets stand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from muxproxy.budget.accounts import Account, Call, Counter
from muxproxy.budget.held import Held
from muxproxy.errors import MuxError
from muxproxy.money import NANO, show


def instant(at: int | None) -> str | None:
    """RFC 3339 in UTC; None for never."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(value: int, dollars: bool) -> float | int:
    """Dollars or tokens as a JSON number."""
    return value / NANO if dollars else value


def _say(value: int, dollars: bool) -> str:
    return show(value) if dollars else f"{value:,} tokens"


def exceeded(counter: Counter, need: int, call: Call) -> MuxError:
    """402: `counter` cannot take `need` more (nano-dollars or tokens)."""
    account = counter.account
    dollars = account.dollars
    left = max(counter.remaining, 0)
    resets = instant(counter.resets_at)
    who = "" if counter.scope == "all" else f" of {account.per} {counter.scope!r}"
    until = f" until {resets}" if resets else ""
    message = (
        f"Budget {account.name!r}{who} has {_say(left, dollars)} of "
        f"{_say(counter.limit, dollars)} left{until}; this call needs up to {_say(need, dollars)}. "
        f"{_advice(account, call)}"
    )
    return MuxError(
        "budget_exceeded",
        message,
        details={
            "budget": account.name,
            "scope": counter.scope,
            "unit": "usd" if dollars else "tokens",
            "limit": amount(counter.limit, dollars),
            "spent": amount(counter.spent, dollars),
            "held": amount(counter.held, dollars),
            "needed": amount(need, dollars),
            "resets_at": resets,
            "alternatives": [],
        },
    )


def _advice(account: Account, call: Call) -> str:
    ways = []
    if call.ask.max_tokens is None:
        ways.append("send max_tokens")
    elif not account.clamp:
        ways.append("lower max_tokens")
    ways.append("use a cheaper model" if account.dollars else "shorten the prompt")
    fix = "top it up" if account.window.kind == "prepaid" else "raise its limit"
    ways.append(f"{fix} (budgets: {{name: {account.name}, limit: ...}})")
    return f"To go on: {', '.join(ways[:-1])}, or {ways[-1]}."


def above_ceiling(ceiling: int, need: int) -> MuxError:
    """402: the call may cost more than the caller's own x-max-budget."""
    return MuxError(
        "budget_exceeded",
        f"This call needs up to {show(need)}, more than its own limit of {show(ceiling)}. "
        "Raise x-max-budget (max_budget), lower max_tokens, or use a cheaper model.",
        details={
            "budget": "x-max-budget",
            "scope": "request",
            "unit": "usd",
            "limit": ceiling / NANO,
            "spent": 0.0,
            "held": 0.0,
            "needed": need / NANO,
            "resets_at": None,
            "alternatives": [],
        },
    )


def unknown_price(call: Call, budget: str) -> MuxError:
    """402: no price is known and a dollar budget must not guess."""
    name = f"{call.target.provider}/{call.target.model or call.ask.model or '*'}"
    return MuxError(
        "unknown_price",
        f"No price is known for {name}, and budget {budget!r} is in dollars. "
        f'Add `prices: {{"{name}": {{input: ..., output: ...}}}}`, set `price: free` on the '
        "provider, or set `unknown_price: allow`.",
        details={"budget": budget, "model": name},
    )


def tightest(counters: Iterable[Counter]) -> Counter | None:
    """The counter with the smallest share of its limit left; shadow budgets do not count."""
    best: Counter | None = None
    share = 0.0
    for counter in counters:
        account = counter.account
        if account.shadow:
            continue
        if account.dollars:
            left = counter.limit - counter.spent_nano - counter.held_nano
        else:
            left = counter.limit - counter.spent_tokens - counter.held_tokens
        part = left / counter.limit if counter.limit else 0.0
        if best is None or part < share:
            best, share = counter, part
    return best


def budget_headers(held: Held, now: float) -> list[tuple[bytes, bytes]]:
    """x-budget-{name,limit,remaining,reset} of the tightest budget that covers a call.

    Dollars with six digits, or tokens; reset is RFC 3339 and left out where it never comes.
    """
    counter = tightest([counter for counter, _, _ in held.entries])
    if counter is None:
        return []
    if counter.buckets is not None:
        counter.turn(now)
    if counter.account.dollars:
        left = counter.limit - counter.spent_nano - counter.held_nano
        limit, rest = _dollars_bytes(counter.limit), b"%.6f" % (max(left, 0) / NANO)
    else:
        left = counter.limit - counter.spent_tokens - counter.held_tokens
        limit, rest = b"%d" % counter.limit, b"%d" % max(left, 0)
    headers = [
        (b"x-budget-name", counter.account.header_name),
        (b"x-budget-limit", limit),
        (b"x-budget-remaining", rest),
    ]
    if (resets := counter.resets_at) is not None:
        headers.append((b"x-budget-reset", _instant_bytes(resets)))
    return headers


@lru_cache(maxsize=256)  # limits are few
def _dollars_bytes(nano: int) -> bytes:
    return b"%.6f" % (nano / NANO)


@lru_cache(maxsize=256)  # the same few windows end for everybody
def _instant_bytes(at: int) -> bytes:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def status_row(counter: Counter) -> dict[str, object]:
    """One line of GET /v1/analytics/budgets."""
    account = counter.account
    dollars = account.dollars
    return {
        "name": account.name,
        "per": account.per,
        "scope": counter.scope,
        "unit": "usd" if dollars else "tokens",
        "limit": amount(counter.limit, dollars),
        "spent": amount(counter.spent, dollars),
        "held": amount(counter.held, dollars),
        "remaining": amount(max(counter.remaining, 0), dollars),
        "window": account.window.text,
        "resets_at": instant(counter.resets_at),
        "threshold": counter.fired or None,
        "on_exceed": account.on_exceed,
        "shadow": account.shadow,
    }
