"""Short ways to say budgets and calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from muxproxy.budget import Budgets, Call, Downgrade, Event, Held, estimate
from muxproxy.config.model import Budget, Config, Provider
from muxproxy.exchange import Ask, Caller, Plan, Target
from muxproxy.prices import FREE, Price, price_of

NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC, a Wednesday
DOLLAR = 1_000_000_000
# $1 per million in, $2 out: 1 token is 1000 or 2000 nano-dollars.
PRICE = price_of({"input": DOLLAR, "output": 2 * DOLLAR}, name="m")
PROVIDERS = {
    "acme": Provider(dialect="openai", base_url="http://127.0.0.1:1"),
    "local": Provider(dialect="openai", base_url="http://127.0.0.1:2", price="free"),
}


def config(*budgets: Budget, **more: Any) -> Config:
    return Config(budgets=list(budgets), providers=more.pop("providers", PROVIDERS), **more)


def budgets(
    *terms: Budget,
    rows: Any = (),
    now: float = NOW,
    tell: Callable[[Event], None] | None = None,
    predicates: Mapping[str, Callable[[object], bool]] | None = None,
    **more: Any,
) -> Budgets:
    return Budgets(config(*terms, **more), rows, now, tell=tell, predicates=predicates)


def ask(tokens_in: int = 100, max_tokens: int | None = 100, **more: Any) -> Ask:
    return Ask(
        dialect="openai",
        endpoint=more.pop("endpoint", "chat"),
        path="/v1/chat/completions",
        model=more.pop("model", "m"),
        prompt_tokens=tokens_in,
        body_bytes=more.pop("body_bytes", tokens_in * 4),
        max_tokens=max_tokens,
        **more,
    )


def call(
    a: Ask | None = None,
    caller: Caller | None = None,
    price: Price | None = PRICE,
    *,
    learned: int | None = None,
    plan: Plan | None = None,
    provider: str = "acme",
    model: str = "m",
    **more: Any,
) -> Call:
    a = a or ask()
    return Call(
        caller=caller or Caller(),
        ask=a,
        plan=plan or Plan(),
        target=Target(provider, model),
        price=price,
        estimate=estimate(a, price, learned),
        **more,
    )


def hold(b: Budgets, c: Call | None = None, now: float = NOW) -> Held:
    held = b.hold(c or call(), now)
    assert not isinstance(held, Downgrade)
    return held


def free_call(**more: Any) -> Call:
    return call(price=FREE, provider="local", **more)


def row(b: Budgets, name: str, scope: str = "all", now: float = NOW) -> dict[str, Any]:
    return next(r for r in b.status(now) if r["name"] == name and r["scope"] == scope)
