"""Regenerates the price table from the genai-prices library (extra `muxproxy[prices]`).

Run by a person (`muxproxy prices refresh`), never by the proxy: prices change only when somebody
looked. The library's data is bundled with it, so nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from muxproxy.prices.table import TABLE

# The library's price keys -> (our kind, units it is the price of).
_KEYS: dict[str, tuple[str, int]] = {
    "input_mtok": ("input", 1),
    "output_mtok": ("output", 1),
    "cache_read_mtok": ("cache_read", 1),
    "cache_write_mtok": ("cache_write", 1),
    "cache_write_5m_mtok": ("cache_write", 1),
    "cache_write_1h_mtok": ("cache_write_1h", 1),
    "output_reasoning_mtok": ("reasoning", 1),
    "input_audio_mtok": ("audio_in", 1),
    "output_audio_mtok": ("audio_out", 1),
    "cache_audio_read_mtok": ("audio_cache_read", 1),
    "input_image_mtok": ("image_in", 1),
    "output_image_mtok": ("image_out", 1),
    "requests_kcount": ("request", 1000),
    "web_searches_kcount": ("search", 1000),
}
_CLAUSES = {
    "ClauseEquals": ("=", "equals"),
    "ClauseStartsWith": ("^", "starts_with"),
    "ClauseEndsWith": ("$", "ends_with"),
    "ClauseContains": ("*", "contains"),
    "ClauseRegex": ("~", "regex"),
    "ClauseOr": ("|", "or_"),
    "ClauseAnd": ("&", "and_"),
}
# How a variant's context is reported in Usage.tier.
_TIERS = {("processing", "batch"): "batch", ("speed", "fast"): "fast"}


def refresh(path: Path = TABLE) -> tuple[str, int, int]:
    """Writes the table to `path`; returns (source, providers, models).

    Raises ImportError when the library is not installed, OSError when `path` cannot be written.
    """
    from importlib.metadata import version  # noqa: PLC0415

    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415  (optional, 0.5 s)

    source = f"genai-prices {version('genai-prices')}"
    data, providers, models = generate(get_snapshot().providers, source)
    partial = path.with_suffix(".tmp")
    partial.write_bytes(data)
    partial.replace(path)
    return source, providers, models


def generate(providers: Iterable[Any], source: str) -> tuple[bytes, int, int]:
    """The table's bytes for the library's `providers`, and how many providers and models."""
    vendors: dict[str, Any] = {}
    for provider in providers:
        vendor: dict[str, Any] = {"url": provider.api_pattern}
        if provider.provider_match is not None:
            vendor["match"] = _clause(provider.provider_match)
        if provider.fallback_model_providers:
            vendor["fallback"] = list(provider.fallback_model_providers)
        vendor["models"] = [_model(model) for model in provider.models]
        vendors[provider.id] = vendor
    lines = [
        msgspec.json.encode(vid) + b":" + msgspec.json.encode(vendor)
        for vid, vendor in vendors.items()
    ]
    head = b'{"source":' + msgspec.json.encode(source) + b',"providers":{\n'
    data = head + b",\n".join(lines) + b"\n}}\n"
    return data, len(vendors), sum(len(v["models"]) for v in vendors.values())


def _model(model: Any) -> list[Any]:
    if isinstance(model.prices, list):
        prices: Any = [[_when(p.constraint), _rates(p.prices)] for p in model.prices]
        if any(rates is None for _, rates in prices):
            prices = None
    else:
        prices = _rates(model.prices)
    entry = [model.id, _clause(model.match), model.context_window, prices]
    variants = []
    for variant in model.price_variants or ():
        tier = _tier(variant.when)
        rates = _rates(variant.prices)
        if tier and rates:
            variants.append([tier, _when(variant.constraint), rates])
    return [*entry, variants] if variants else entry


def _tier(when: dict[str, str]) -> str | None:
    """The service tier of a variant; None for contexts that no usage report names."""
    if len(when) != 1:
        return None
    ((key, value),) = when.items()
    return value if key == "service_tier" else _TIERS.get((key, value))


def _clause(clause: Any) -> list[Any]:
    op, field = _CLAUSES[type(clause).__name__]
    value = getattr(clause, field)
    if op in "|&":
        return [op, [_clause(part) for part in value]]
    return [op, value if op == "~" else value.lower()]


def _when(constraint: Any) -> list[Any] | None:
    if constraint is None:
        return None
    if (start := getattr(constraint, "start_date", None)) is not None:
        return ["from", int(datetime.combine(start, time(), UTC).timestamp())]
    return ["daily", _second(constraint.start_time), _second(constraint.end_time)]


def _second(moment: time) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(datetime.combine(datetime(2000, 1, 2), moment).timestamp()) % 86_400


def _rates(prices: Any) -> dict[str, Any] | None:
    """Rates of the kinds we count; None when only others are priced (audio by the hour ...)."""
    stated = {key: value for key, value in vars(prices).items() if value is not None}
    rates: dict[str, Any] = {}
    for key, (kind, units) in _KEYS.items():
        if (value := stated.get(key)) is None:
            continue
        if isinstance(value, Decimal):
            rates[kind] = _rate(value, units)
        else:
            steps = [[tier.start, _rate(tier.price, units)] for tier in value.tiers]
            rates[kind] = [_rate(value.base, units), *steps]
    if not any(kind in rates for kind in ("input", "output", "request")):
        return None if stated and not rates.keys() & {"search"} else rates
    return rates


def _rate(price: Decimal, units: int) -> int:
    """Nano-dollars per million units of a price for a million tokens or `units` things."""
    per_million = price * (1_000_000 // units if units > 1 else 1)
    return int((per_million * 1_000_000_000).to_integral_value())
