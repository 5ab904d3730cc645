"""The YAML's own prices, which lie on top of the table.

    prices:
      "openai/gpt-4o*": {input: 2.00, output: 8.00, cache_read: 0.50}
      "acme/*":         {input: $0.10, output: $0.40, request: 0.001,
                         tiers: [{above: 200000, input: 0.20, output: 0.80}],
                         service_tiers: {priority: {input: 0.20, output: 0.80}},
                         context_window: 128000, max_output: 8192}

Dollars per million tokens; `request` and `search` are dollars per call and per server-tool call.
A kind that is not named keeps the table's price; where the table has none, a kind is billed as
the kind it is a part of (cache_read as input, reasoning as output), and output as input. The
glob is matched on `provider/model`, the first that fits counts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fnmatch import translate
from re import compile as compile_re
from typing import Any

from muxproxy.prices.rates import KINDS, PER

_ALIASES = {"cache_write_5m": "cache_write", "cache_read_audio": "audio_cache_read"}
_COUNTS = ("context_window", "max_output")
_FEES = frozenset({"request", "search"})  # dollars each, not per million
_KEYS = (*KINDS, *_ALIASES, *_COUNTS, "tiers", "service_tiers")

Override = dict[str, Any]  # as table.Offer takes it: rates, service, context_window, max_output


def override_faults(prices: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(path in the YAML, what is wrong with it), for every fault."""
    for glob, entry in prices.items():
        path = f"prices.{glob}"
        if "/" not in glob and glob != "*":
            yield path, f"expected provider/model, such as openai/{glob}"
        for key in entry:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, 1)
                yield (
                    f"{path}.{key}",
                    "unknown key" + (f"; did you mean {near[0]}?" if near else ""),
                )
        try:
            parse_override(entry)
        except (ValueError, TypeError) as error:
            yield path, str(error)


def parse_override(entry: Mapping[str, Any]) -> Override:
    """One entry of `prices:` with integer rates. Raises ValueError naming the bad value."""
    rates: dict[str, Any] = _rates(entry)
    for tier in sorted(_list(entry.get("tiers", [])), key=lambda t: int(t["above"])):
        for kind, rate in _rates(tier).items():
            base = rates.setdefault(kind, rate)
            steps = base if isinstance(base, list) else [base]
            rates[kind] = [*steps, [int(tier["above"]), rate]]
    service = entry.get("service_tiers", {})
    if not isinstance(service, Mapping):
        raise ValueError("service_tiers: expected a mapping of tier to prices")
    override: Override = {
        "rates": rates,
        "service": {str(name).lower(): _rates(each) for name, each in service.items()},
    }
    for key in _COUNTS:
        if key in entry:
            override[key] = int(entry[key])
    return override


def parse_rate(kind: str, value: object) -> int:
    """Nano-dollars per million units of a price as written. Raises ValueError."""
    try:
        dollars = Decimal(str(value).strip().removeprefix("$"))
    except InvalidOperation:
        raise ValueError(f"{kind}: expected dollars per million tokens, got {value!r}") from None
    if not dollars.is_finite() or dollars < 0:
        raise ValueError(f"{kind}: expected a price of zero or more, got {value!r}")
    return int((dollars * (1_000_000_000 * (PER if kind in _FEES else 1))).to_integral_value())


def _rates(entry: Mapping[str, Any]) -> dict[str, int]:
    named = {_ALIASES.get(key, key): value for key, value in entry.items()}
    return {kind: parse_rate(kind, named[kind]) for kind in KINDS if kind in named}


def _list(value: object) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(v, dict) and "above" in v for v in value):
        raise ValueError("tiers: expected a list of {above: TOKENS, input: ..., output: ...}")
    return value


class Overrides:
    """All entries of `prices:`, compiled. Raises ValueError on a bad value."""

    def __init__(self, prices: Mapping[str, Mapping[str, Any]]) -> None:
        self._entries = [
            (compile_re(translate(glob.lower())), parse_override(entry))
            for glob, entry in prices.items()
        ]

    def find(self, provider: str, model: str) -> Override | None:
        """The first entry whose glob fits, or None."""
        name = f"{provider}/{model}".lower()
        for pattern, override in self._entries:
            if pattern.match(name):
                return override
        return None
