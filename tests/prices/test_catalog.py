"""Prices by configured names: overrides, free providers, unknown models, reported costs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.model import Provider
from muxproxy.exchange import Usage
from muxproxy.prices import FREE, Price, Prices, Row, override_faults, price_of
from muxproxy.prices.table import Table

AT = 1_795_000_000  # 2026-11-18
TABLE = Table.read()
PROVIDERS = {
    "openai": Provider(dialect="openai", base_url="https://api.openai.com/v1"),
    "anthropic": Provider(dialect="anthropic", base_url="https://api.anthropic.com"),
    "router": Provider(dialect="openai", base_url="https://openrouter.ai/api/v1"),
    "local": Provider(dialect="openai", base_url="http://127.0.0.1:11434/v1", price="free"),
    "acme": Provider(dialect="openai", base_url="https://llm.acme.test/v1"),
}


def load(**overrides: dict[str, Any]) -> Prices:
    return Prices.load({k.replace("__", "/"): v for k, v in overrides.items()}, PROVIDERS, TABLE)


def found(prices: Prices, provider: str, model: str) -> Price:
    price = prices.find(provider, model, AT)
    assert price is not None
    return price


def test_fifteen_cents_per_million_is_150_million_nano() -> None:
    assert found(load(), "openai", "gpt-4o-mini").tiers[0].input == 150_000_000


def test_the_documented_sonnet_example() -> None:
    """CLIENTS.md: 1000 in, 300 of them read and 100 written, is $0.002265."""
    usage = Usage(input=600, cache_read=300, cache_write_5m=100)
    assert found(load(), "anthropic", "claude-sonnet-4-5").cost(usage) == 2_265_000


def test_a_model_nobody_prices_is_unknown_and_not_free() -> None:
    """BerriAI/litellm PR #36561: an unmapped model silently cost $0.00."""
    prices = load()
    assert prices.find("openai", "gpt-99-nobody-knows", AT) is None
    assert prices.find("acme", "gpt-4o", AT) is None
    assert prices.find("openai", None, AT) is None
    assert prices.find("openai", "whisper-1", AT) is None, "priced by the hour, which we never see"
    assert prices.settle("openai", None, Usage(input=10, output=10)) is None


def test_a_free_provider_costs_nothing_whatever_the_model_is_called() -> None:
    prices = load()
    assert prices.find("local", "gpt-4o", AT) is FREE
    assert prices.settle("local", FREE, Usage(input=10, reported_cost=99)) == 0


def test_openrouters_free_variants_are_free() -> None:
    assert found(load(), "router", "openai/gpt-oss-20b:free") is FREE


def test_a_custom_price_is_not_zero() -> None:
    """BerriAI/litellm #25874: custom-priced models were treated as zero cost."""
    price = found(load(acme__big={"input": "$2", "output": 8}), "acme", "big")
    assert not price.free
    assert price.cost(Usage(input=1_000_000, output=500_000)) == 6_000_000_000


def test_cached_tokens_under_a_custom_price_are_billed_once() -> None:
    """BerriAI/litellm PR #40016: cache reads billed twice with custom pricing."""
    usage = Usage(input=700_000, cache_read=300_000)
    plain = found(load(acme__big={"input": 2, "output": 8}), "acme", "big")
    assert plain.cost(usage) == 2_000_000_000, "a kind without a price is billed as its parent"
    split = found(load(acme__big={"input": 2, "output": 8, "cache_read": 0.2}), "acme", "big")
    assert split.cost(usage) == 1_460_000_000


def test_anthropic_cached_tokens_are_priced_by_kind() -> None:
    """BerriAI/litellm #11364."""
    price = found(load(), "anthropic", "claude-sonnet-4-5")
    million = 1_000_000
    each = {"input": 3, "cache_read": 0.3, "cache_write_5m": 3.75, "cache_write_1h": 6}
    for kind, dollars in each.items():
        usage = Usage(**{kind: 100_000})  # below the 200k tier
        assert price.cost(usage) == round(dollars * 1_000_000_000 * 100_000 / million), kind


def test_an_override_lies_on_top_of_the_table_kind_by_kind() -> None:
    price = found(load(**{"openai__gpt-4o*": {"input": 1}}), "openai", "gpt-4o-mini")
    rates = price.tiers[0]
    assert (rates.input, rates.cache_read, rates.output) == (10**9, 75_000_000, 600_000_000)


def test_override_tiers_fees_and_service_tiers() -> None:
    price = found(
        load(
            acme__x={
                "input": 1,
                "output": 2,
                "request": 0.001,
                "tiers": [{"above": 200_000, "input": 2, "output": 4}],
                "service_tiers": {"priority": {"input": 3, "output": 6}},
                "context_window": 400_000,
                "max_output": 9_000,
            }
        ),
        "acme",
        "x",
    )
    assert price.cost(Usage(input=200_000)) == 200_000_000 + 1_000_000
    assert price.cost(Usage(input=200_001)) == 400_002_000 + 1_000_000
    assert price.cost(Usage(input=1000, tier="priority")) == 3_000_000 + 1_000_000
    assert (price.context_window, price.max_output) == (400_000, 9_000)


def test_the_first_glob_that_fits_counts() -> None:
    prices = load(**{"acme__a*": {"input": 1, "output": 1}, "acme__*": {"input": 9, "output": 9}})
    assert found(prices, "acme", "abc").tiers[0].input == 10**9
    assert found(prices, "acme", "xyz").tiers[0].input == 9 * 10**9


FAULTS = [
    ({"gpt-4o": {"input": 1}}, "provider/model"),
    ({"openai/x": {"inptu": 1}}, "did you mean input"),
    ({"openai/x": {"input": "cheap"}}, "dollars per million"),
    ({"openai/x": {"input": -1}}, "zero or more"),
    ({"openai/x": {"tiers": {"above": 1}}}, "list of"),
]


@pytest.mark.parametrize(("entry", "says"), FAULTS)
def test_faulty_overrides_are_named(entry: dict[str, dict[str, Any]], says: str) -> None:
    faults = list(override_faults(entry))
    assert any(says in what for _, what in faults), faults
    assert all(path.startswith("prices.") for path, _ in faults)


def test_reported_cost_is_believed_and_the_difference_counted() -> None:
    prices = load()
    price = found(prices, "openai", "gpt-4o-mini")
    usage = Usage(input=1_000_000, reported_cost=151_000_000)
    assert prices.settle("openai", price, usage) == 151_000_000
    assert prices.settle("openai", None, usage) == 151_000_000
    seen = prices.differences["openai"]
    assert (seen.calls, seen.differing, seen.nano) == (1, 1, 1_000_000)


def test_dated_prices_follow_the_moment() -> None:
    prices = load()
    o3 = [prices.find("openai", "o3", at) for at in (1_747_000_000, AT)]
    assert [p.tiers[0].input for p in o3 if p] == [10 * 10**9, 2 * 10**9]


def test_recost_uses_each_calls_own_time() -> None:
    usage = Usage(input=1_000_000)
    rows = [Row(i, "openai", "o3", at, usage, None) for i, at in enumerate((1_747_000_000, AT))]
    rows.append(Row(2, "openai", "nobody", AT, usage, 5))
    assert [cost for _, cost in load().recost(rows)] == [10 * 10**9, 2 * 10**9, None]


def test_the_version_names_table_and_overrides() -> None:
    plain, other = load(), load(acme__x={"input": 1, "output": 1})
    assert plain.version.startswith("genai-prices-0.2.3+")
    assert other.version.startswith(plain.version + ".")
    assert other.version != load(acme__x={"input": 2, "output": 1}).version


def test_loading_takes_a_blink() -> None:
    best = min(_timed() for _ in range(5))
    assert best < 0.1, "15 ms on an idle machine; the bound allows for a crowded one"


def _timed() -> float:
    start = time.process_time()
    Prices.load({}, PROVIDERS)
    return time.process_time() - start


def test_the_memory_of_names_is_bounded() -> None:
    prices = load()
    for i in range(10_000):
        prices.find("acme", f"m{i}", AT)
    assert len(prices._offers) <= 4096


RAW = st.fixed_dictionaries(
    {"input": st.integers(0, 10**11), "output": st.integers(0, 10**11)},
    optional={
        kind: st.integers(0, 10**11)
        for kind in ("cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_in")
    },
)
COUNT = st.integers(0, 2_000_000)


@given(raw=RAW, a=COUNT, b=COUNT, c=COUNT, d=COUNT, out=COUNT, thought=COUNT)
def test_the_worst_ceiling_bounds_every_mixture_of_kinds(
    raw: dict[str, int], a: int, b: int, c: int, d: int, out: int, thought: int
) -> None:
    price = price_of(raw)
    usage = Usage(
        input=a, cache_read=b, cache_write_5m=c, cache_write_1h=d, output=out, reasoning=thought
    )
    assert price.cost(usage) <= price.ceiling(a + b + c + d, out + thought, worst=True)


@given(raw=RAW, nano=st.integers(0, 10**12), tokens_in=COUNT, worst=st.booleans())
def test_what_is_afforded_fits_and_one_more_does_not(
    raw: dict[str, int], nano: int, tokens_in: int, worst: bool
) -> None:
    price = price_of(raw)
    out = price.affords(nano, tokens_in, worst=worst)
    if out is None:
        assert price.ceiling(tokens_in, 10**9, worst=worst) <= nano
    elif out < 0:
        assert price.ceiling(tokens_in, 0, worst=worst) > nano
    else:
        assert price.ceiling(tokens_in, out, worst=worst) <= nano
        assert price.ceiling(tokens_in, out + 1, worst=worst) > nano
