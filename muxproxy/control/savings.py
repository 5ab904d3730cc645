"""What routing saved: the same tokens at the price of a `baseline:` model, beside what was paid.

From sums of tokens, so at the baseline's first context tier; the share of calls that were free.
"""

from __future__ import annotations

from typing import Any

from muxproxy.money import NANO
from muxproxy.prices import Price
from muxproxy.prices.rates import PER


def with_savings(report: dict[str, Any], name: str | None, price: Price | None) -> dict[str, Any]:
    """The report with `free_share` in every row, and with a known baseline also `baseline_usd`
    and `saved_usd`."""
    for row in (report["totals"], *report["rows"]):
        row["free_share"] = round(row["free"] / row["requests"], 4) if row["requests"] else None
        if price is not None:
            baseline = _at(price, row) / NANO
            row["baseline_usd"] = baseline
            row["saved_usd"] = baseline - (row["cost_usd"] or 0.0)
    report["baseline"] = name if price is not None else None
    return report


def _at(price: Price, row: dict[str, Any]) -> int:
    """Nano-dollars of a row's tokens."""
    rates = price.tiers[0]
    total = (
        row["input"] * rates.input
        + row["cache_read"] * rates.cache_read
        + row["cache_write_5m"] * rates.cache_write
        + row["cache_write_1h"] * rates.cache_write_1h
        + row["output"] * rates.output
        + row["reasoning"] * rates.reasoning
    )
    return int(total // PER)
