"""What the tests of second attempts share."""

from __future__ import annotations

import json
from typing import Any

from muxproxy.exchange import Receipt
from tests.http_client import Answer
from tests.stack import Stack
from tests.wire.balance import balanced, fetch, sums

PROVIDERS = """
  first:  {dialect: openai, base_url: "SIM/v1", api_key: k1, FIRST}
  second: {dialect: openai, base_url: "SIM/v1", api_key: k2}
  other:  {dialect: anthropic, base_url: "SIM", api_key: k3}
  google: {dialect: gemini, base_url: "SIM", api_key: k4}
"""
YAML = """
models: {pair: [first/a, second/b], alone: [first/a], crossed: [first/a, other/c]}
prices: {"*": {input: 1, output: 2}}
budgets:
  - {name: all, limit: $1000, window: month, hold: HOLD}
  - {name: each, per: provider, limit: $1000, window: month}
rules:
  - {name: r, hedge: HEDGE, continue: true}
"""
INPUT, OUTPUT = 1000, 2000  # nano-dollars per token at those prices
TOKENS = 12
CHAT: dict[str, Any] = {
    "model": "pair",
    "messages": [{"role": "user", "content": "Tell me a story"}],
    "max_tokens": TOKENS,
}
SLOW = "20s"  # nobody waits for it
SOON = "{after: 30ms}"


def yaml(hedge: str = SOON, hold: str = "expected") -> str:
    return YAML.replace("HEDGE", hedge).replace("HOLD", hold)


def providers(first: str = "breaker: {failures: 3}") -> str:
    return PROVIDERS.replace("FIRST", first)


async def ask(proxy: Stack, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    return await fetch(proxy.port, "/v1/chat/completions", {**CHAT, **more}, headers)


def models(proxy: Stack) -> list[str]:
    """What the providers were asked for, in order."""
    return [json.loads(seen.body or b"{}").get("model") for seen in proxy.sim.requests]


def counted(proxy: Stack) -> tuple[dict[str, int], dict[str, int]]:
    """(second attempts by outcome, those not made by reason)."""
    metrics = proxy.runtime.metrics
    return dict(metrics.hedges), dict(metrics.hedges_withheld)


async def cut(proxy: Stack, model: str) -> None:
    """Until the provider has seen that nobody waits for that model's answer."""
    await proxy.sim.until(
        lambda sim: any(model.encode() in r.body and r.closed_early for r in sim.requests)
    )


def own_cost(receipt: Receipt) -> int:
    """Of the answer that went to the caller."""
    usage = receipt.usage
    assert usage is not None
    return usage.input_total * INPUT + usage.output_total * OUTPUT


async def booked(proxy: Stack, rows: int) -> list[Receipt]:
    """All receipts, when what the budgets have is what the rows say."""
    receipts = await balanced(proxy, rows)
    spent = sum(receipt.cost or 0 for receipt in receipts)
    for budget in ("all", "each"):
        assert sum(nano for nano, _ in sums(proxy, budget).values()) == spent
    for provider in ("first", "second", "other", "google"):
        for live in proxy.runtime.health.models_of(provider).values():
            assert live.in_flight == 0
    return receipts
