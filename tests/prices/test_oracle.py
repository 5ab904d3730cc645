"""The library that the table is generated from prices every model of the table as we do."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from muxproxy.config.model import Provider
from muxproxy.exchange import Usage
from muxproxy.prices import Prices
from muxproxy.prices.table import Table

genai_prices = pytest.importorskip("genai_prices")
from genai_prices.data_snapshot import get_snapshot  # noqa: E402

NANO = Decimal(1_000_000_000)
MOMENTS = (
    datetime(2025, 2, 1, 12, 0, tzinfo=UTC),
    datetime(2026, 9, 15, 2, 30, tzinfo=UTC),  # off-peak and peak hours of DeepSeek
    datetime(2026, 11, 23, 17, 0, tzinfo=UTC),
)
USAGES = {
    "plain": Usage(input=1000, output=500),
    "cached": Usage(input=600, cache_read=300, cache_write_5m=100, output=7),
    "both cache lifetimes": Usage(input=1, cache_write_5m=50_001, cache_write_1h=70_003, output=1),
    "reasoning": Usage(input=10, output=3, reasoning=9_999),
    "at the edge of a tier": Usage(input=200_000, output=1),
    "just above a tier": Usage(input=150_001, cache_read=50_000, output=1),
    "above the next tier": Usage(input=272_001, output=100),
    "far above": Usage(input=900_000, cache_read=100_001, output=64_000),
    "searches": Usage(input=10, output=10, requests=3),
}
TIERS = ("batch", "priority", "flex", "fast")
CONTEXTS = {"batch": {"processing": "batch"}, "fast": None}


def vendors() -> list[Any]:
    return list(get_snapshot().providers)


@pytest.fixture(scope="module")
def prices() -> Prices:
    known = {
        # The configured name decides where no URL is known.
        vendor.id: Provider(dialect="openai", base_url="http://127.0.0.1:1")
        for vendor in vendors()
    }
    return Prices.load({}, known)


def theirs(usage: Usage, priced: set[str]) -> Any:
    """Our usage as the library counts: inclusive, and only kinds it has a price for."""
    values: dict[str, int] = {
        "input_tokens": usage.input_total,
        "output_tokens": usage.output_total,
        "cache_read_tokens": usage.cache_read or 0,
        "cache_write_tokens": (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0),
        "cache_write_1h_tokens": usage.cache_write_1h or 0,
        "output_reasoning_tokens": usage.reasoning or 0,
        "web_searches": usage.requests or 0,
    }
    # Of two overlapping kinds the library wants the overlap stated; ours are text: it is 0.
    for key in (
        "input_audio",
        "input_image",
        "input_video",
        "cache_audio_read",
        "cache_image_read",
    ):
        if key in priced:
            values[f"{key}_tokens"] = 0
    return genai_prices.Usage(**values)


def nano(price: Decimal) -> Decimal:
    return price * NANO


@pytest.mark.parametrize("vendor", vendors(), ids=lambda v: v.id)
def test_every_model_costs_what_the_library_says(vendor: Any, prices: Prices) -> None:
    for model in vendor.models:
        if vendor.find_model(model.id) is not model:
            continue  # its id means another entry, which has its own turn
        for moment in MOMENTS:
            ours = prices.find(vendor.id, model.id, int(moment.timestamp()))
            stated = model.get_prices(moment).__dict__
            if ours is None:
                assert unpriceable(model), f"{vendor.id}/{model.id} has lost its price"
                continue
            for name, usage in USAGES.items():
                answer = model.calc_price(
                    theirs(usage, {k.removesuffix("_mtok") for k in stated}),
                    vendor,
                    genai_request_timestamp=moment,
                )
                difference = abs(ours.cost(usage) - nano(answer.total_price))
                assert difference <= 1, f"{vendor.id}/{model.id} {name} {moment}"


def unpriceable(model: Any) -> bool:
    """Priced by the hour, page or character only, or at nothing without saying it is free."""
    each = model.prices if isinstance(model.prices, list) else [model]
    keys = {key for p in each for key, value in p.prices.__dict__.items() if value is not None}
    return not keys & {"input_mtok", "output_mtok", "requests_kcount"}


@pytest.mark.parametrize("tier", TIERS)
def test_service_tiers_cost_what_the_library_says(tier: str, prices: Prices) -> None:
    moment = MOMENTS[-1]
    usage = Usage(input=150_000, cache_read=60_000, output=1000, tier=tier)
    checked = 0
    for vendor in vendors():
        for model in vendor.models:
            contexts = {
                str(v.when): v.when
                for v in model.price_variants or ()
                if len(v.when) == 1
                and (next(iter(v.when.values())) == tier)
                and next(iter(v.when)) in ("service_tier", "processing", "speed")
            }
            if len(contexts) != 1 or vendor.find_model(model.id) is not model:
                continue
            ours = prices.find(vendor.id, model.id, int(moment.timestamp()))
            if ours is None:
                continue
            (context,) = contexts.values()
            stated = {k.removesuffix("_mtok") for k in model.get_prices(moment, context).__dict__}
            answer = model.calc_price(
                theirs(usage, stated), vendor, genai_request_timestamp=moment, price_context=context
            )
            assert abs(ours.cost(usage) - nano(answer.total_price)) <= 1, f"{vendor.id}/{model.id}"
            checked += 1
    assert checked > 10


AUDIO = Usage(
    input=1000, cache_read=400, output=900, audio_in=700, cache_read_audio=150, audio_out=300
)


@pytest.mark.parametrize(
    ("vendor", "model"), [("openai", "gpt-realtime"), ("google", "gemini-2.5-flash")]
)
def test_cached_audio_has_its_own_price(vendor: str, model: str, prices: Prices) -> None:
    """maximhq/bifrost, langwatch/tasks #641: without the split realtime is 30-80 times too dear."""
    moment = MOMENTS[-1]
    ours = prices.find(vendor, model, int(moment.timestamp()))
    assert ours is not None
    answer = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=1400,
            cache_read_tokens=400,
            input_audio_tokens=700,
            cache_audio_read_tokens=150,
            input_image_tokens=0,
            cache_image_read_tokens=0,
            output_tokens=900,
            output_audio_tokens=300,
        ),
        model,
        provider_id=vendor,
        genai_request_timestamp=moment,
    )
    assert abs(ours.cost(AUDIO) - nano(answer.total_price)) <= 1
    split = Usage(input=1000, cache_read=400, output=900, audio_in=700, audio_out=300)
    assert ours.cost(AUDIO) < ours.cost(split)


NAMES = [
    ("openai", "gpt-4o-2024-08-06"),
    ("openai", "gpt-4o-mini"),
    ("openai", "GPT-4o"),
    ("openai", "gpt-5.2-20251211"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-3-5-haiku-latest"),
    ("google", "gemini-2.5-flash"),
    ("google", "claude-sonnet-4-5@20250929"),
    ("azure", "gpt-4o"),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("mistral", "mistral-small-latest"),
    ("groq", "llama-3.3-70b-versatile"),
    ("openrouter", "anthropic/claude-sonnet-4.5"),
]


@pytest.mark.parametrize(("vendor", "name"), NAMES)
def test_dated_names_and_aliases_are_found_as_the_library_finds_them(
    vendor: str, name: str
) -> None:
    table = Table.read()
    snapshot = get_snapshot()
    _, expected = snapshot.find_provider_model(name, None, vendor, None)
    found = table.model(vendor, name)
    assert found is not None
    assert found.id == expected.id


URLS = [
    "https://api.openai.com/v1",
    "https://api.anthropic.com",
    "https://generativelanguage.googleapis.com",
    "https://europe-west1-aiplatform.googleapis.com",
    "https://api.mistral.ai/v1",
    "https://api.groq.com/openai/v1",
    "https://api.x.ai/v1",
    "https://openrouter.ai/api/v1",
    "https://my-resource.openai.azure.com/openai/v1",
    "https://bedrock-runtime.us-east-1.amazonaws.com",
]


@pytest.mark.parametrize("url", URLS)
def test_a_base_url_names_its_provider(url: str) -> None:
    expected = get_snapshot().find_provider(None, None, url).id
    assert Table.read().vendor("whatever", url) == expected
    assert Table.read().vendor("whatever", url.replace("https", "http")) == expected


def test_the_shipped_table_is_what_the_installed_library_generates() -> None:
    from muxproxy.prices.refresh import generate
    from muxproxy.prices.table import TABLE

    source = f"genai-prices {genai_prices.__version__}"
    data, providers, models = generate(vendors(), source)
    assert (providers, models) == (47, 2330)
    assert data == TABLE.read_bytes()
