"""Costs of recorded exchanges, kind by kind, against a calculation that shares no code."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from muxproxy.config.model import Provider
from muxproxy.exchange import Usage
from muxproxy.prices import Prices
from tests.wire_corpus import Exchange, exchanges, needs_wire

genai_prices = pytest.importorskip("genai_prices")
from genai_prices.data_snapshot import get_snapshot  # noqa: E402

pytestmark = needs_wire

MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)
# the recordings' provider -> the library's
VENDORS = {
    "openai": "openai", "anthropic": "anthropic", "gemini": "google", "vertex": "google",
    "bedrock": "aws", "openrouter": "openrouter", "cohere": "cohere", "azure": "azure",
    "mistral": "mistral", "xai": "x-ai", "deepseek": "deepseek", "groq": "groq", "zai": "zai",
    "cerebras": "cerebras", "perplexity": "perplexity", "avian": "avian", "together": "together",
    "voyage": "voyageai", "moonshot": "moonshotai",
}  # fmt: skip
PARENTS = {
    "cache_read_mtok": "input_mtok",
    "cache_write_mtok": "input_mtok",
    "cache_write_1h_mtok": "cache_write_mtok",
    "output_reasoning_mtok": "output_mtok",
}


def usage_of(expected: dict[str, Any]) -> Usage:
    read = expected.get("cache_read_tokens") or 0
    write = expected.get("cache_write_tokens") or 0
    hour = expected.get("cache_write_1h_tokens") or 0
    thought = expected.get("reasoning_tokens") or 0
    return Usage(
        input=max(expected["input_total"] - read - write, 0),
        cache_read=read,
        cache_write_5m=write - hour,
        cache_write_1h=hour,
        output=max((expected.get("output_total") or 0) - thought, 0),
        reasoning=thought,
    )


def independent(model_price: Any, usage: Usage) -> dict[str, Decimal]:
    """Dollars by kind, from the library's raw prices and schoolbook arithmetic."""

    def rate(key: str) -> Decimal:
        price = model_price.__dict__.get(key)
        if price is None:
            return rate(PARENTS[key]) if key in PARENTS else Decimal(0)
        if isinstance(price, Decimal):
            return price
        at = price.base
        for tier in price.tiers:
            if usage.input_total > tier.start:
                at = tier.price
        return at

    million = Decimal(1_000_000)
    fee = model_price.__dict__.get("requests_kcount") or Decimal(0)
    return {
        "input": rate("input_mtok") * usage.input / million,
        "cache_read": rate("cache_read_mtok") * (usage.cache_read or 0) / million,
        "cache_write_5m": rate("cache_write_mtok") * (usage.cache_write_5m or 0) / million,
        "cache_write_1h": rate("cache_write_1h_mtok") * (usage.cache_write_1h or 0) / million,
        "output": rate("output_mtok") * usage.output / million,
        "reasoning": rate("output_reasoning_mtok") * (usage.reasoning or 0) / million,
        "request": fee / 1000,
    }


def priced() -> list[tuple[Exchange, str, Any]]:
    snapshot = get_snapshot()
    found = []
    for exchange in exchanges():
        expected = exchange.expected
        vendor, model = VENDORS.get(exchange.provider), expected.get("model")
        if not vendor or not model or not expected.get("input_total") or exchange.ambiguous:
            continue
        try:
            provider, info = snapshot.find_provider_model(model, None, vendor, None)
        except LookupError:
            continue
        if any(variant is info for variant in provider.models) or provider.fallback_model_providers:
            found.append((exchange, vendor, info))
    return found


def test_recorded_exchanges_cost_kind_by_kind_what_an_independent_calculation_says() -> None:
    vendors = set(VENDORS.values())
    known = {v: Provider(dialect="openai", base_url="http://127.0.0.1:1") for v in vendors}
    prices = Prices.load({}, known)
    at = int(MOMENT.timestamp())
    compared = 0
    for exchange, vendor, info in priced():
        price = prices.find(vendor, exchange.expected["model"], at)
        if price is None or price.free:
            continue
        usage = usage_of(exchange.expected)
        kinds = independent(info.get_prices(MOMENT), usage)
        total = sum(kinds.values())
        assert abs(price.cost(usage) - total * 10**9) <= 1, exchange.id
        # A kind alone, at the tier of the whole prompt.
        rates = price.rates(usage.input_total)
        for kind, count, rate in (
            ("input", usage.input, rates.input),
            ("cache_read", usage.cache_read or 0, rates.cache_read),
            ("cache_write_5m", usage.cache_write_5m or 0, rates.cache_write),
            ("cache_write_1h", usage.cache_write_1h or 0, rates.cache_write_1h),
            ("output", usage.output, rates.output),
            ("reasoning", usage.reasoning or 0, rates.reasoning),
        ):
            exact = Decimal(count * rate) / 1_000_000
            assert abs(exact - kinds[kind] * 10**9) <= Decimal("0.001"), (exchange.id, kind)
        compared += 1
    assert compared > 900


def test_costs_that_providers_reported_agree_with_ours() -> None:
    """252 of the 295 of the full set equal the price data within 1 %; the rest are search fees,
    own keys and upstream choice, which is why a reported cost is believed over ours."""
    known = {v: Provider(dialect="openai", base_url="http://127.0.0.1:1") for v in VENDORS.values()}
    prices = Prices.load({}, known)
    at = int(MOMENT.timestamp())
    near = far = 0
    for exchange, vendor, _ in priced():
        reported = exchange.expected.get("reported_cost_usd")
        price = prices.find(vendor, exchange.expected["model"], at)
        if not reported or price is None:
            continue
        cost = price.cost(usage_of(exchange.expected))
        if abs(cost - reported * 1e9) <= 0.01 * reported * 1e9:
            near += 1
        else:
            far += 1
    assert near > 80
    assert near / (near + far) > 0.75, (near, far)
